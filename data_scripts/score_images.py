"""Reads a folder of originals and one of reconstructions; writes scores.csv, scores.md, scores.png.

The same as `latentcortex score`; --help states the rules.
"""

import argparse
import sys

from latentcortex import scorecard

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    scorecard.add_arguments(parser)
    sys.exit(scorecard.run(parser.parse_args()))
