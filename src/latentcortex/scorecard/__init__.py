"""Score a folder of anyone's reconstructions against a folder of originals.

`names` finds the id of a picture in its name, `numbering` translates numbers of NSD's images, and `folders`
reads pictures. `score` computes the scores of
reconstructions and baselines. `report` writes them as a table, a text and a figure.
"""

from latentcortex.scorecard.score import add_arguments, run, score_folders

__all__ = ["add_arguments", "run", "score_folders"]
