"""Weighed sampling: drawings that decoded z corrects, beside plain and guided ones, in one run.

Reads the preset's networks and data, writes nothing, prints a table. All routes draw the same images from the
same decoded z and c, at the same strength, one batch after the other in turns, so that a busy machine slows
all of them alike. Guided is feature guidance as published, in the preset's share of the steps. Precise is
guidance by the same features in the same steps, weighed by their noise. Ratios are medians over rounds of the
time relative to plain drawings of the same round. What is measured once (R2, errors of the network,
decoders) is not counted, and its time is printed apart.
"""

import argparse
import platform
import time

import numpy as np
import torch

from latentcortex import presets
from latentcortex.sampler import Guidance, feature_guide
from latentcortex.studies import decoding, drawings, open_study, validation, weighing, weighing_features
from latentcortex.studies.recipes import Recipe
from latentcortex.studies.responses import VISUAL_CORTEX


def main():
    """Draw in turns, and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", help="default: $LATENTCORTEX_PRESET, else mini")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--strength", type=float, default=0.75)
    args = parser.parse_args()
    study = open_study(presets.get(args.preset))
    subject, preset = study.subjects[0], study.preset
    held = validation.validation_of(study, subject)
    ids = held.image_ids[: args.images]
    z, c = (held.decoded(name, preset.rescale)[: args.images] for name in "zc")
    start = time.perf_counter()
    known = weighing.knowledge(study, subject, train_ids=tuple(held.fit_ids.tolist()))
    betas = decoding.read(study, subject).showings(known.region, "all", ids)
    correction = weighing.correction(study, known, weighing.Weighing(), betas, ids)
    once = time.perf_counter() - start
    guide = feature_guide(study.guide, held.targets("decoded"))
    guidance = Guidance(guide, preset.feature_scale, preset.guided_share, decoder=study.model.vae)
    routes = {"plain": {}, "weighed": {"correction": correction}, "guided": {"guidance": guidance}}
    in_cortex = weighing.responses_to(study, subject, ids)[
        :, decoding.read(study, subject).mask(VISUAL_CORTEX)
    ]
    learned = tuple(held.fit_ids.tolist())
    features = weighing_features.feature_knowledge(study, subject, c_region="all", train_ids=learned)
    precise = weighing_features.feature_guidance(
        study, features, in_cortex, ids, guided_share=preset.guided_share
    )
    routes["precise"] = {"guidance": precise}
    times = {name: [] for name in routes}
    for turn in range(args.rounds + 1):
        for name in np.roll(list(routes), turn):
            start = time.perf_counter()
            drawings.reconstruct(study, Recipe(), 0, ids, z, c, strength=args.strength, **routes[name])
            if preset.device == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first one warms up, and computes the gains
                times[name].append(time.perf_counter() - start)
    device = (
        torch.cuda.get_device_name() if preset.device == "cuda" else f"{torch.get_num_threads()} CPU thread"
    )
    print(f"{platform.machine()}, {device}, torch {torch.__version__}")
    print(
        f"{args.images} images of the preset {preset.name}, strength {args.strength:g}, {args.rounds} rounds"
    )
    print(f"measured once, or read from the cache: {once:.0f} s")
    for name, of in times.items():
        ratios = np.array(of) / times["plain"]
        low, high = np.quantile(ratios, [0.1, 0.9])
        print(f"{name:8} {np.median(of):7.2f} s   {np.median(ratios):.3f} x plain [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
