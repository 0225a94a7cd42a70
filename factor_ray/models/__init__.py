"""Models: CB-APM, the macro state and the quantile solver. No Ray; torch is loaded when something is fitted."""

from factor_ray.models.base import Fit, Hyperparameters, Model, Prediction
from factor_ray.models.cbapm import CBAPM, CBAPMSettings
from factor_ray.models.conditional_autoencoder import ConditionalAutoencoder, ConditionalAutoencoderSettings
from factor_ray.models.forecasters.crossformer import Crossformer, CrossformerSettings
from factor_ray.models.forecasters.dlinear import DLinear, DLinearSettings
from factor_ray.models.forecasters.dy_gap import DYGAP, DYGAPSettings
from factor_ray.models.forecasters.itransformer import ITransformer, ITransformerSettings
from factor_ray.models.forecasters.mlp import MLP, MLPSettings
from factor_ray.models.forecasters.patchtst import PatchTST, PatchTSTSettings
from factor_ray.models.forecasters.sthd import STHD, STHDSettings
from factor_ray.models.forecasters.transformer import Transformer, TransformerSettings
from factor_ray.models.ipca import IPCA, IPCASettings
from factor_ray.models.macro_state import MacroState, MacroStateSettings, fit_macro_states
from factor_ray.models.neurif import NeurIF, NeurIFSettings
from factor_ray.models.observed_factors import ObservedFactorModel, ObservedFactorSettings
from factor_ray.models.pca import PCA, PCASettings
from factor_ray.models.quantile.model_observed import ObservedFactors, ObservedSettings
from factor_ray.models.quantile.model_qcf import QCF, QCFSettings
from factor_ray.models.quantile.model_qfm import QFM, QFMSettings
from factor_ray.models.registry import model, model_names

__all__ = [
    "CBAPM",
    "DYGAP",
    "IPCA",
    "MLP",
    "PCA",
    "QCF",
    "QFM",
    "STHD",
    "CBAPMSettings",
    "ConditionalAutoencoder",
    "ConditionalAutoencoderSettings",
    "Crossformer",
    "CrossformerSettings",
    "DLinear",
    "DLinearSettings",
    "DYGAPSettings",
    "Fit",
    "Hyperparameters",
    "IPCASettings",
    "ITransformer",
    "ITransformerSettings",
    "MLPSettings",
    "MacroState",
    "MacroStateSettings",
    "Model",
    "NeurIF",
    "NeurIFSettings",
    "ObservedFactorModel",
    "ObservedFactorSettings",
    "ObservedFactors",
    "ObservedSettings",
    "PCASettings",
    "PatchTST",
    "PatchTSTSettings",
    "Prediction",
    "QCFSettings",
    "QFMSettings",
    "STHDSettings",
    "Transformer",
    "TransformerSettings",
    "fit_macro_states",
    "model",
    "model_names",
]
