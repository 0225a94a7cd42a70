"""Settings of the search, the ensembles, the machines and the tracking."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from factor_ray.errors import InputError


class SearchSettings(BaseModel):
    """How hyperparameters are explored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    points: int = Field(
        1,
        ge=1,
        description="Points asked of Optuna on the first window, per variant; a space that has no more is explored "
        "whole.",
    )
    round: int = Field(
        8,
        ge=1,
        description="Points asked at once; their scores are told together. The first round is drawn at random, later "
        "ones by the scores told, from four on: with no more points than a round the search is random.",
    )
    refresh: int = Field(0, ge=0, description="New points asked on every later window, per variant.")
    pruner: Literal["halving", "none"] = Field(
        "halving", description="halving keeps the better half of a variant's points from window to window."
    )
    survivors: int = Field(4, ge=1, description="Points of a variant that halving always keeps.")
    tolerance: float = Field(
        0.0,
        ge=0,
        description="Parsimony: of the points whose mean score exceeds the best by no more than this share of it, the "
        "simplest is selected, where the model says what is simple (qcf: fewer factors, then a lower order); 0 takes "
        "the best.",
    )
    pack: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="Most points fitted as one stack; auto spreads a round over the slots. Changes no result."
    )
    selection: Literal["per_window", "global"] = Field(
        "per_window",
        description="per_window selects with validation scores of that window and those before it; global takes the "
        "point that is best over all windows, which looks ahead and is marked in the report.",
    )
    seed: int = Field(0, ge=0, description="Seed of the run: of points, initial weights, dropout and mini-batches.")


class EnsembleSettings(BaseModel):
    """What is averaged into a forecast."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    members: int = Field(5, ge=1, description="Fits of each selected point, with different seeds.")
    weights: Literal["equal", "greedy"] = Field(
        "equal",
        description="equal averages the members of the selected point; greedy adds, with replacement, whichever fitted "
        "member of any point lowers the window's validation loss most (Caruana et al. 2004).",
    )


class ComputeSettings(BaseModel):
    """Where fits run. Nothing here changes a result on CPU."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slots: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="Packs fitted at once: auto is one per GPU, else one per CPU of the cluster."
    )
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="auto fits in reused actors; a number fits on Ray Train worker groups of that many processes.",
    )
    gpus: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto", description="GPUs to use: auto takes all that the cluster has, 0 none."
    )

    def require_processors(self) -> None:
        """Refuse more processes than this machine has CPUs, where a run would start a cluster of its own on it.

        Raises
        ------
        InputError
            Naming the key.
        """
        if os.environ.get("RAY_ADDRESS"):
            return
        cpus = os.cpu_count() or 1
        for key, asked in (("slots", self.slots), ("workers", self.workers)):
            if isinstance(asked, int) and asked > cpus:
                raise InputError(
                    f"compute.{key} is {asked}, and this machine has {cpus} CPUs: lower it to {cpus} or less, or set "
                    "auto"
                )


class TrackingSettings(BaseModel):
    """What Weights & Biases is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        "auto", description="auto is online where an API key is set, else offline."
    )
    project: str = Field("factor-ray", min_length=1, description="W&B project.")
