"""Train the shared space, decode the test images, and keep both on disk.

Images are split first. For each subject 100 training images with all their repeats are used for validation
and never for training, in both stages. The shared images are for testing. Betas are z-scored session by
session with the trials of images that are not shared. Test responses are means over all repeats in all
sessions, regardless of how many sessions a decoder learns from.
"""

import functools
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from latentcortex import metrics, nsd, shared_space, store
from latentcortex.decoders import LinearDecoder
from latentcortex.shared_space import SharedSpace
from latentcortex.studies import decoding, targets
from latentcortex.studies.plans import GROUPS, Plan, plan_for
from latentcortex.studies.responses import VISUAL_CORTEX
from latentcortex.studies.scores import score_features
from latentcortex.studies.study import Study

SEED = 7
N_SEEDS = 3  # trainings of each network
METHODS = {
    "pretrained": "the other subjects first, all their sessions, then the target subject",
    "scratch": "the same network on the target subject alone",
    "ridge": "a linear decoder of the showings' means, penalties by generalised cross-validation",
    "joint": "as pretrained, one network for z and c",
    "prior": "as pretrained, c alone, with a diffusion prior where the others have none",
}
AMOUNTS = ("1", "2", "all")  # first sessions of the target subject
FORMS = ("as predicted", "rescaled", "projected")
SUFFIXES = dict(zip(FORMS, ("", "_rescaled", "_projected"), strict=True))


@dataclass(frozen=True, eq=False)
class Trainings:
    """Hold the trainings of a study under a plan.

    Attributes
    ----------
    study : Study
    plan : Plan
    confused_but : str or None
        For a control, the only subject whose trials keep their images. For all other subjects each trial is
        assigned to another image of the same subject.
    """

    study: Study
    plan: Plan
    confused_but: str | None = None

    @functools.cached_property
    def validation(self):
        """Return the ids of the validation images by subject."""
        chosen = {}
        for subject, number in zip(self.study.subjects, self.study.preset.subjects, strict=True):
            train_ids, rng = nsd.split(self.study.tables[subject])[0], np.random.default_rng([SEED, number])
            chosen[subject] = nsd.validation_split(train_ids, self.plan.n_validation, rng=rng)[1]
        return chosen

    @functools.cached_property
    def description(self):
        """Return everything that all trainings depend on besides stages and sizes (JSON-able).

        Settings of samplers and judges do not matter here.
        """
        preset = self.study.preset
        return {
            "data": self.study.identity,
            "weights": self.study.weights("vae", "text_encoder", "tokenizer", "guide"),
            "n_validation": self.plan.n_validation,
            "subjects": self.study.subjects,
            "space": preset.space,
            "region": VISUAL_CORTEX,
            "image_size": preset.image_size,
            "dtype": str(preset.dtype),
            "alphas": preset.alphas,
            "confused_but": self.confused_but,
        }

    def described(self):
        """Return everything that products of several trainings depend on (JSON-able).

        Raises
        ------
        ValueError
            If the subjects saw different shared images, because their scores cannot be stacked.
        """
        return {**self.description, "plan": asdict(self.plan), "n_images": len(self.study.image_ids)}

    def trials(self, subject, amount="all"):
        """Return betas (n, n_voxels) and image_ids (n,) of the trials of images that are not shared."""
        read = decoding.read(self.study, subject)
        rows = ~read.table["shared"].to_numpy()
        if amount != "all":
            sessions = read.table["session"].unique()
            if int(amount) > len(sessions):
                raise ValueError(f"Expected 1 to {len(sessions)} sessions of {subject}, got {amount}.")
            rows &= read.table["session"].isin(sessions[: int(amount)]).to_numpy()
        betas, ids = read.single(VISUAL_CORTEX)[rows], read.image_ids[rows]
        if self.confused_but in (None, subject):
            return betas, ids
        known = np.unique(ids)
        rng = np.random.default_rng([SEED, 1, int(subject.removeprefix("subj"))])
        return betas, known[metrics.shuffled_rows(len(known), rng)][store.rows_of(known, ids)]

    def test(self, subject):
        """Return means (n, n_voxels) over all repeats of the test images, and image_ids (n,)."""
        return decoding.read(self.study, subject).averages(VISUAL_CORTEX)[1][:2]

    def averages(self, subject, amount):
        """Return averaged responses to the training images and the validation images of some sessions.

        The result is two pairs of means over repeats (n, n_voxels) and image_ids (n,).
        """
        betas, ids = self.trials(subject, amount)
        held = np.isin(ids, self.validation[subject])
        return [nsd.average_repeats(betas[rows], ids[rows])[:2] for rows in (~held, held)]

    def targets(self, group):
        """Return the targets of a group for every image shown, (features (n, ...), ids) by name."""
        return {name: _target(self.study, name) for name in GROUPS[group]}

    def true(self, name, image_ids):
        """Return a target of images, a float32 array (n, ...)."""
        values, known = _target(self.study, name)
        return values[store.rows_of(known, image_ids, name)]

    def ridge(self, subject, amount, name):
        """Return the linear decoder of a target, fitted and rescaled on the same images as the networks."""
        (betas, ids), (held, held_ids) = self.averages(subject, amount)
        preset = self.study.preset
        decoder = LinearDecoder(preset.alphas, cv="gcv", device=preset.device)
        decoder.fit(betas, self.true(name, ids), ids)
        return decoder.fit_rescaling(held, self.true(name, held_ids), held_ids)

    def network(self, subject, seed, method, amount, group, state=None):
        """Return the trained network of a method (not ridge) for a group of targets in `plans.GROUPS`.

        Returns
        -------
        model : SharedSpace
        curves : dict of str to array
            Curves over epochs: ``last_loss`` (n_epochs,) and ``last_retrieval`` (n_epochs, n_targets) of
            validation images, and ``first_loss`` and ``first_retrieval`` of the first stage.
        """
        sizes, stages = self.plan.of(method, group)
        betas, ids = self.trials(subject, amount)
        if len(stages) == 2:
            first, curves = self.pretrained(subject, seed, group, sizes)
            model = first.with_new_subject(subject, betas.shape[1], seed=seed)
        else:
            model, curves = self._start({subject: betas}, group, sizes, seed), {}
        held = np.intersect1d(ids, self.validation[subject])
        settings = replace(stages[-1], seed=seed)
        last = self._train("last", model, {subject: (betas, ids)}, group, settings, held, state)
        return model, curves | last

    def pretrained(self, subject, seed, group, sizes):
        """Return the network trained on all other subjects and its curves; a missing network is trained."""
        settings = self.plan.pretraining[group]
        described = {**self.description, "sizes": asdict(sizes), "training": asdict(settings)}
        shelf, part = self.study.shelf("pretrained", [Trainings], described), (subject, seed, group)
        weights, state = (shelf.path(part, end) for end in (".safetensors", "-state.safetensors"))

        def make():
            # Not even validation images of the target subject, should another have seen them, too.
            others = [other for other in self.study.subjects if other != subject]
            trials = {}
            for other in others:
                betas, ids = self.trials(other)
                rows = ~np.isin(ids, self.validation[subject])
                trials[other] = betas[rows], ids[rows]
            held = np.concatenate([self.validation[other] for other in others])
            held = np.setdiff1d(held, self.validation[subject])
            model = self._start({other: betas for other, (betas, _) in trials.items()}, group, sizes, seed)
            curves = self._train("first", model, trials, group, replace(settings, seed=seed), held, state)
            shared_space.save(model, weights)
            return curves

        curves = shelf.get(part, make)
        state.unlink(missing_ok=True)  # from here on nobody needs it
        try:
            return shared_space.load(weights, device=self.study.preset.device), curves
        except (FileNotFoundError, store.DamagedFileError) as error:  # only the curves are there
            shelf.discard(shelf.path(part), error)
            return self.pretrained(subject, seed, group, sizes)

    def _start(self, betas, group, sizes, seed):
        """Make a network for subjects (betas by name) and a group of targets."""
        n_voxels = {subject: rows.shape[1] for subject, rows in betas.items()}
        shapes = {name: values.shape[1:] for name, (values, _) in self.targets(group).items()}
        return SharedSpace(n_voxels, shapes, sizes, seed=seed)

    @torch.enable_grad()  # predictions may be asked for where drawings are made, without gradients
    def _train(self, stage, model, trials, group, settings, held, state):
        """Train a network in place; return its curves as arrays (n_epochs, ...)."""
        model, options = (
            model.to(self.study.preset.device),
            {"validation_image_ids": held, "checkpoint": state},
        )
        try:
            history = shared_space.train(model, trials, self.targets(group), settings, **options)
        except store.DamagedFileError:  # before the first step: the state can't be read
            state.unlink()
            history = shared_space.train(model, trials, self.targets(group), settings, **options)
        retrieval = [epoch.get("retrieval", {}) for epoch in history]
        return {
            f"{stage}_loss": np.array([epoch["loss"] for epoch in history]),
            f"{stage}_retrieval": np.array(
                [[of.get(name, np.nan) for name in GROUPS[group]] for of in retrieval]
            ),
        }

    def predictions(self, subject, seed, method, amount, group):
        """Return the predictions of a method for the test images; missing predictions are computed and kept.

        Returns
        -------
        dict of str to array
            ``test_image_ids`` (n,), and float16 (n, ...) predictions by target. ``c`` is as predicted, and
            ``c_rescaled`` is brought to the targets' spread. For networks there are also ``c_projected``,
            which the contrastive loss has shaped, and the curves.
        """
        sizes, stages = self.plan.of(method, group)
        read = {"sizes": sizes and asdict(sizes), "stages": [asdict(settings) for settings in stages]}
        shelf = self.study.shelf("predictions", [Trainings], {**self.description, **read})
        part = subject, seed, method, amount, group
        state = shelf.path(part, "-state.safetensors")
        arrays = shelf.get(part, lambda: self._predict(*part, state))
        state.unlink(missing_ok=True)
        return arrays

    def _predict(self, subject, seed, method, amount, group, state):
        test, ids = self.test(subject)
        held, held_ids = self.averages(subject, amount)[1]
        decoded, curves = {}, {}
        if method == "ridge":
            for name in GROUPS[group]:
                decoder = self.ridge(subject, amount, name)
                for form in FORMS[:2]:
                    decoded[name + SUFFIXES[form]] = decoder.predict(test, form == "rescaled", ids)
        else:
            model, curves = self.network(subject, seed, method, amount, group, state)
            shared_space.fit_rescaling(model, held, subject, held_ids, self.targets(group), seed=seed)
            for form in FORMS:
                options = {"rescale": form == "rescaled", "projected": form == "projected"}
                values = shared_space.predict(model, test, subject, image_ids=ids, seed=seed, **options)
                decoded |= {name + SUFFIXES[form]: rows for name, rows in values.items()}
        halves = {name: rows.astype(np.float16) for name, rows in decoded.items()}
        return {"test_image_ids": ids, **halves, **curves}


@functools.cache
def trainings_of(study, change=None, subject=None):
    """Return the trainings of a study or of a control, the same object at each call.

    Parameters
    ----------
    study : Study
    change : {None, "confused", "long", "short"}
        With ``"confused"`` the responses of all other subjects are assigned to other images of theirs. With
        ``"long"`` the second stage takes as many steps as training from scratch. With ``"short"`` training
        from scratch takes as many steps as the second stage.
    subject : str, optional
        The target subject of ``"confused"``.
    """
    plan = plan_for(study.preset)
    if change == "long":
        plan = replace(plan, finetuning=plan.scratch)
    elif change == "short":
        plan = replace(plan, scratch=plan.finetuning)
    return Trainings(study, plan, subject if change == "confused" else None)


def decoded(study, subject, name, method, amount, rescaled=None):
    """Return the predictions (n, ...) of the first training of a method for the test images.

    By default ``rescaled`` is the preset's.
    """
    group = name if name in GROUPS else "g"
    arrays = trainings_of(study).predictions(subject, 0, method, amount, group)
    rescaled = study.preset.rescale if rescaled is None else rescaled
    rows = store.rows_of(arrays["test_image_ids"], study.image_ids, "the predictions")
    return torch.from_numpy(arrays[name + "_rescaled" * rescaled][rows]).float()


def score(trainings, name, predicted, image_ids, subject, amount, projected=False):
    """Return the scores of predictions from some of a subject's sessions, as in `scores.score_features`."""
    mean = trainings.true(name, trainings.averages(subject, amount)[0][1]).mean(0)
    return score_features(predicted, trainings.true(name, image_ids), mean, projected)


def add_seeds(parser):
    """Add the option of scripts that can use fewer trainings."""
    text = f"trainings of each network; a product of another number than {N_SEEDS} stays in the cache"
    parser.add_argument("--seeds", type=int, choices=range(1, 100), default=N_SEEDS, metavar="N", help=text)


@functools.lru_cache(maxsize=8)  # z, c and six layers of g
def _target(study, name):
    ids = np.unique(np.concatenate([table["image_id"] for table in study.tables.values()]))
    return targets.target(study, name, ids).numpy(), ids
