"""Trainings of the shared space, and what they decode for the test images, kept on disk.

Images are split first: of each subject 100 of the training images validate (all their showings) and
train nothing, in the first stage as in the second; the shared images test. Betas are z-scored session
by session with the trials of images that are not shared. Test responses are means of all showings, in
all sessions, however many sessions a decoder learns from.
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
    """The trainings of a study under a plan.

    Attributes
    ----------
    study : Study
    plan : Plan
    confused_but : str or None
        A control: all subjects but this one answer to pictures that they did not see, each trial to
        another picture of theirs.
    """

    study: Study
    plan: Plan
    confused_but: str | None = None

    @functools.cached_property
    def validation(self):
        """Ids of the validation images of each subject, by name."""
        chosen = {}
        for subject, number in zip(self.study.subjects, self.study.preset.subjects, strict=True):
            train_ids, rng = nsd.split(self.study.tables[subject])[0], np.random.default_rng([SEED, number])
            chosen[subject] = nsd.validation_split(train_ids, self.plan.n_validation, rng=rng)[1]
        return chosen

    @functools.cached_property
    def description(self):
        """What all trainings depend on besides stages and sizes; JSON-able.

        What samplers and judges are set to changes nothing here.
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
        """Return what products of several trainings depend on; JSON-able.

        Raises
        ------
        ValueError
            If the subjects saw different shared images: their scores can't be stacked.
        """
        return {**self.description, "plan": asdict(self.plan), "n_images": len(self.study.image_ids)}

    def trials(self, subject, amount="all"):
        """Return the trials of images that are not shared: betas (n, n_voxels), image_ids (n,)."""
        read = decoding.read(self.study, subject)
        rows = ~read.table["shared"].to_numpy()
        if amount != "all":
            sessions = nsd.trials(self.study.root, subject, int(amount))["session"]
            rows &= read.table["session"].isin(sessions).to_numpy()
        betas, ids = read.single(VISUAL_CORTEX)[rows], read.image_ids[rows]
        if self.confused_but in (None, subject):
            return betas, ids
        known = np.unique(ids)
        rng = np.random.default_rng([SEED, 1, int(subject.removeprefix("subj"))])
        return betas, known[metrics.shuffled_rows(len(known), rng)][store.rows_of(known, ids)]

    def test(self, subject):
        """Return the test images: means of all showings (n, n_voxels), image_ids (n,)."""
        return decoding.read(self.study, subject).averages(VISUAL_CORTEX)[1][:2]

    def averages(self, subject, amount):
        """Return the images of those sessions that train, and those that validate.

        Two pairs of means of their showings (n, n_voxels) and image_ids (n,).
        """
        betas, ids = self.trials(subject, amount)
        held = np.isin(ids, self.validation[subject])
        return [nsd.average_repeats(betas[rows], ids[rows])[:2] for rows in (~held, held)]

    def targets(self, group):
        """Return the targets of a group for every image shown: (features (n, ...), ids) by name."""
        return {name: _target(self.study, name) for name in GROUPS[group]}

    def true(self, name, image_ids):
        """Return a target of images: float32 array (n, ...)."""
        values, known = _target(self.study, name)
        return values[store.rows_of(known, image_ids, name)]

    def ridge(self, subject, amount, name):
        """Fit the linear decoder of a target on the same images as the networks, and its rescaling."""
        (betas, ids), (held, held_ids) = self.averages(subject, amount)
        decoder = LinearDecoder(self.study.preset.alphas, cv="gcv").fit(betas, self.true(name, ids), ids)
        return decoder.fit_rescaling(held, self.true(name, held_ids), held_ids)

    def network(self, subject, seed, method, amount, group, state=None):
        """Train the network of a method (not ridge) for a group of targets, see `plans.GROUPS`.

        Returns
        -------
        model : SharedSpace
        curves : dict of str to array
            Over the epochs: ``last_loss`` (n_epochs,), ``last_retrieval`` (n_epochs, n_targets) of the
            validation images, and ``first_loss``, ``first_retrieval`` of the first stage.
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
        """Return the network trained on all other subjects, made where it is missing, and its curves."""
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
        """Return what a method decodes for the test images, trained and kept where it is missing.

        Returns
        -------
        dict of str to array
            ``test_image_ids`` (n,); by target float16 (n, ...): ``c`` as predicted, ``c_rescaled``
            brought to the targets' spread, ``c_projected`` what the contrastive loss has shaped (of
            networks); and the curves of networks.
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
    """Return the trainings of a study, or of a control; the same ones at each call.

    Parameters
    ----------
    study : Study
    change : {None, "confused", "long", "short"}
        ``"confused"``: the other subjects' responses belong to other pictures of theirs. ``"long"``: the
        second stage takes as many steps as training from scratch does; ``"short"``: the reverse.
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
    """Return what the first training of a method decodes for the test images: tensor (n, ...).

    ``rescaled`` is the preset's, by default.
    """
    group = name if name in GROUPS else "g"
    arrays = trainings_of(study).predictions(subject, 0, method, amount, group)
    rescaled = study.preset.rescale if rescaled is None else rescaled
    rows = store.rows_of(arrays["test_image_ids"], study.image_ids, "the predictions")
    return torch.from_numpy(arrays[name + "_rescaled" * rescaled][rows]).float()


def score(trainings, name, predicted, image_ids, subject, amount, projected=False):
    """Score what was decoded for images from some of a subject's sessions, see `scores.score_features`."""
    mean = trainings.true(name, trainings.averages(subject, amount)[0][1]).mean(0)
    return score_features(predicted, trainings.true(name, image_ids), mean, projected)


def add_seeds(parser):
    """Add the option of scripts that can do with fewer trainings."""
    text = f"trainings of each network; a product of another number than {N_SEEDS} stays in the cache"
    parser.add_argument("--seeds", type=int, choices=range(1, 100), default=N_SEEDS, metavar="N", help=text)


@functools.lru_cache(maxsize=8)  # z, c and six layers of g
def _target(study, name):
    ids = np.unique(np.concatenate([table["image_id"] for table in study.tables.values()]))
    return targets.target(study, name, ids).numpy(), ids
