"""Combine the other parts of the package into the analyses that chapters and scripts share.

`study` opens a preset's data and networks, and `responses` reads a subject's responses once. True features
are kept on disk by image id (`image_rows`): z, c and g by `targets`, layers of the U-Net by `noisy_features`,
and z_c by `removed_noise`. `maps` scores feature sets at every vertex, in several worlds at once. `decoding`
fits linear decoders. `plans` and `shared_training` train the networks of the shared space.

`recipes` defines how images are drawn, `guides` makes their guidance, and `drawings` draws and keeps them.
`encoders` predicts responses. `scores` scores drawings and decoded features, and `live_scores` what a page
draws. `jobs` divides long work into parts, and `kept` keeps them under the `keys` of their code and settings.
`results` finds the products.

`operations` counts what networks compute, and `costs` plans hours, bytes and money. `replication` holds the
frozen kit for figures 6 to 9 of Takagi and Nishimoto (2023), and `replication_features` its features.

`weighing` corrects drawings by decoded z, weighed by its noise. `edited_scenes` shows simulated subjects
scenes in which one thing was edited, and `causal` measures whether decoded pictures change there.
`recovery_edits` asks what each simulated vertex answers to when one thing is edited, and `recovery_ranks`
compares maps with it.

`virtual_studies` simulates small studies of `virtual_subjects`, and `power` counts what they find.
"""

from latentcortex.studies.results import Product, product
from latentcortex.studies.study import Study, open_study

__all__ = ["Product", "Study", "open_study", "product"]
