"""FRED-MD's series by name with their transform codes, and which of them CB-APM uses."""

from __future__ import annotations

# fmt: off
# CB-APM, Table D.3, in its order; codes as in the transform rows of the 2021-08 and 2023-09 vintages.
_CBAPM = {
    # Output and Income
    "RPI": 5, "W875RX1": 5, "INDPRO": 5, "IPFPNSS": 5, "IPFINAL": 5, "IPCONGD": 5, "IPDCONGD": 5, "IPNCONGD": 5,
    "IPBUSEQ": 5, "IPMAT": 5, "IPDMAT": 5, "IPNMAT": 5, "IPMANSICS": 5, "IPFUELS": 5, "CUMFNS": 2,
    # Labor Market
    "HWI": 2, "HWIURATIO": 2, "CLF16OV": 5, "CE16OV": 5, "UNRATE": 2, "UEMPMEAN": 2, "UEMPLT5": 5, "UEMP5TO14": 5,
    "UEMP15OV": 5, "UEMP15T26": 5, "UEMP27OV": 5, "CLAIMSx": 5, "PAYEMS": 5, "USGOOD": 5, "CES1021000001": 5,
    "USCONS": 5, "MANEMP": 5, "DMANEMP": 5, "NDMANEMP": 5, "SRVPRD": 5, "USTPU": 5, "USWTRADE": 5, "USTRADE": 5,
    "USFIRE": 5, "USGOVT": 5, "CES0600000007": 1, "AWOTMAN": 2, "AWHMAN": 1, "CES0600000008": 6, "CES2000000008": 6,
    "CES3000000008": 6,
    # Housing
    "HOUST": 4, "HOUSTNE": 4, "HOUSTMW": 4, "HOUSTS": 4, "HOUSTW": 4,
    # Consumption, Orders, and Inventories
    "DPCERA3M086SBEA": 5, "CMRMTSPLx": 5, "RETAILx": 5, "AMDMNOx": 5, "AMDMUOx": 5, "BUSINVx": 5, "ISRATIOx": 2,
    # Money and Credit
    "M1SL": 6, "M2SL": 6, "M2REAL": 5, "BOGMBASE": 6, "TOTRESNS": 6, "NONBORRES": 7, "BUSLOANS": 6, "REALLN": 6,
    "NONREVSL": 6, "CONSPI": 2, "DTCOLNVHFNM": 6, "DTCTHFNM": 6, "INVEST": 6,
    # Interest and Exchange Rates
    "FEDFUNDS": 2, "CP3Mx": 2, "TB3MS": 2, "TB6MS": 2, "GS1": 2, "GS5": 2, "GS10": 2, "AAA": 2, "BAA": 2,
    "COMPAPFFx": 1, "TB3SMFFM": 1, "TB6SMFFM": 1, "T1YFFM": 1, "T5YFFM": 1, "T10YFFM": 1, "AAAFFM": 1, "BAAFFM": 1,
    "EXSZUSx": 5, "EXJPUSx": 5, "EXUSUKx": 5, "EXCAUSx": 5,
    # Prices
    "WPSFD49207": 6, "WPSFD49502": 6, "WPSID61": 6, "WPSID62": 6, "OILPRICEx": 6, "PPICMM": 6, "CPIAUCSL": 6,
    "CPIAPPSL": 6, "CPITRNSL": 6, "CPIMEDSL": 6, "CUSR0000SAC": 6, "CUSR0000SAD": 6, "CUSR0000SAS": 6, "CPIULFSL": 6,
    "CUSR0000SA0L2": 6, "CUSR0000SA0L5": 6, "PCEPI": 6, "DDURRG3M086SBEA": 6, "DNDGRG3M086SBEA": 6,
    "DSERRG3M086SBEA": 6,
    # Stock Market
    "S&P 500": 5, "S&P div yield": 2, "S&P PE ratio": 5,
}
_OTHERS = {
    "IPB51222S": 5, "PERMIT": 4, "PERMITNE": 4, "PERMITMW": 4, "PERMITS": 4, "PERMITW": 4, "ACOGNO": 5, "ANDENOx": 5,
    "S&P: indust": 5, "TWEXAFEGSMTHx": 5, "UMCSENTx": 2, "VXOCLSx": 1, "VIXCLSx": 1,
}
# fmt: on

CBAPM_SERIES: tuple[str, ...] = tuple(_CBAPM)
"""The 115 FRED-MD series of CB-APM, Table D.3, in its order."""

TRANSFORM_CODES: dict[str, int] = {**_CBAPM, **_OTHERS}
"""Transform code (1-7) of each series, as FRED-MD publishes them (McCracken and Ng, 2016, appendix)."""
