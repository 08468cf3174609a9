"""Where the rooms of the package meet: what chapters and scripts share.

`study` opens a preset's data and networks; `responses` reads a subject's responses once and `targets`
keeps true features on disk; `decoding` fits linear decoders, `plans` and `shared_training` the networks
of the shared space; `recipes` says how images are drawn, `guides` what corrects them, and `drawings`
draws and keeps them; `encoders` predicts responses; `scores` scores drawings and decoded features.
`jobs` cuts long work into parts, `kept` keeps them under the `keys` of their code and settings, and
`results` finds the products.
"""

from latentcortex.studies.results import Product, product
from latentcortex.studies.study import Study, open_study

__all__ = ["Product", "Study", "open_study", "product"]
