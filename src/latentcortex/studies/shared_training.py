"""Trainings of the shared space, and what they decode for the test images, kept on disk.

Images are split first: of each subject 100 of the training images validate (all their showings) and
train nothing, in the first stage as in the second; the shared images test. Betas are z-scored session
by session with the trials of images that are not shared. Test responses are means of all showings, in
all sessions, however many sessions a decoder learns from.
"""

import functools
import json
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from filelock import FileLock

from latentcortex import metrics, nsd, shared_space, store
from latentcortex.decoders import LinearDecoder
from latentcortex.shared_space import SharedSpace
from latentcortex.studies import decoding
from latentcortex.studies.plans import GROUPS, Plan, plan_for
from latentcortex.studies.responses import VISUAL_CORTEX
from latentcortex.studies.study import Study
from latentcortex.studies.targets import target

SEED = 7
N_VALIDATION = 100
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
    """The trainings of a study under a plan. Made by `trainings_of`.

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
        numbers = zip(self.study.subjects, self.study.preset.subjects, strict=True)
        return {
            subject: nsd.validation_split(
                nsd.split(self.study.tables[subject])[0],
                N_VALIDATION,
                rng=np.random.default_rng([SEED, number]),
            )[1]
            for subject, number in numbers
        }

    @functools.cached_property
    def description(self):
        """What all trainings depend on besides the plan. Settings of samplers and judges change nothing."""
        preset = self.study.preset
        return {
            "data": self.study.identity,
            "weights": self.study.weights("vae", "text_encoder", "tokenizer", "guide"),
            "n_validation": N_VALIDATION,
            "subjects": self.study.subjects,
            "space": preset.space,
            "region": VISUAL_CORTEX,
            "image_size": preset.image_size,
            "dtype": str(preset.dtype),
            "alphas": preset.alphas,
            "confused_but": self.confused_but,
        }

    def trials(self, subject, amount="all"):
        """Return the trials of images that are not shared: betas (n, n_voxels), image_ids (n,)."""
        read = decoding.read(self.study, subject)
        rows = ~read.table["shared"].to_numpy()
        if amount != "all":
            measured = nsd.trials(self.study.root, subject, int(amount))["session"]
            rows &= read.table["session"].isin(measured).to_numpy()
        betas, ids = read.single(VISUAL_CORTEX)[rows], read.image_ids[rows]
        if self.confused_but in (None, subject):
            return betas, ids
        known = np.unique(ids)
        rng = np.random.default_rng([SEED, 1, int(subject.removeprefix("subj"))])
        return betas, known[metrics.shuffled_rows(len(known), rng)][store.rows_of(known, ids)]

    def test(self, subject):
        """Return the test images: means of all showings (n, n_voxels), image_ids (n,)."""
        return decoding.read(self.study, subject).averages(VISUAL_CORTEX)[1][:2]

    def held(self, subject, amount):
        """Return the validation images among those sessions: means (n, n_voxels), image_ids (n,)."""
        betas, ids = self.trials(subject, amount)
        rows = np.isin(ids, self.validation[subject])
        return nsd.average_repeats(betas[rows], ids[rows])[:2]

    def targets(self, group):
        """Return the targets of a group for every image shown: (features (n, ...), ids) by name."""
        return _targets(self.study, group)

    def trained_ids(self, subject, amount):
        """Return the ids of the images that a subject's decoders learn from."""
        return np.setdiff1d(self.trials(subject, amount)[1], self.validation[subject])

    def train_mean(self, subject, amount, name):
        """Return the mean target (...) of those images."""
        return target(self.study, name, self.trained_ids(subject, amount)).numpy().mean(0)

    def pretrained(self, subject, seed, group, sizes):
        """Return the network pre-trained on all other subjects, made once, and the curves of its training."""
        settings = replace(self.plan.pretraining[group], seed=seed)
        described = {**self.description, "sizes": asdict(sizes), "training": asdict(settings)}
        shelf = self.study.shelf("pretrained", [_pretrain, Trainings], described)
        path = shelf.path((subject, seed, group), ".safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        notes, name = path.with_suffix(".json"), self.study.preset.name
        with FileLock(path.with_suffix(".lock")):
            if path.is_file():
                try:
                    return shared_space.load(path, name, self.study.preset.device), json.loads(
                        notes.read_text()
                    )
                except store.DamagedFileError as error:
                    shelf.discard(path, error)
            state = path.with_name(f"{path.stem}-state.safetensors")
            model, curves_ = _pretrain(self, subject, group, sizes, settings, state)
            with store.replacing(notes) as temporary:
                temporary.write_text(json.dumps(curves_))
            shared_space.save(model, path, name)
            state.unlink(missing_ok=True)
        return shared_space.load(path, name, self.study.preset.device), curves_

    def network(self, subject, seed, method, amount, group, state=None):
        """Train the network of a method for a group of targets; return it and its curves."""
        sizes, targets = self.plan.sizes, self.targets(group)
        if method == "prior":
            sizes = replace(sizes, prior_depth=self.plan.other_prior_depth)
        trials = {subject: self.trials(subject, amount)}
        n_voxels = trials[subject][0].shape[1]
        if method == "scratch":
            shapes = {name: values.shape[1:] for name, (values, _) in targets.items()}
            model, kept = SharedSpace({subject: n_voxels}, shapes, sizes, seed=seed), {}
            settings = self.plan.scratch[group]
        else:
            first, found = self.pretrained(subject, seed, group, sizes)
            model, kept = first.with_new_subject(subject, n_voxels, seed=seed), {"first": found}
            settings = self.plan.finetuning[group]
        with torch.enable_grad():
            history = shared_space.train(
                model.to(self.study.preset.device),
                trials,
                targets,
                replace(settings, seed=seed),
                validation_image_ids=self.held(subject, amount)[1],
                checkpoint=state,
            )
        return model, {**kept, "last": curves(history)}

    def ridge(self, subject, amount, name):
        """Fit the linear decoder of a target on the same images, and its rescaling."""
        betas, ids = _without(self.trials(subject, amount), self.validation[subject])
        betas, ids, _ = nsd.average_repeats(betas, ids)
        held, held_ids = self.held(subject, amount)
        decoder = LinearDecoder(self.study.preset.alphas, cv="gcv")
        decoder.fit(betas, target(self.study, name, ids).numpy(), ids)
        return decoder.fit_rescaling(held, target(self.study, name, held_ids).numpy(), held_ids)

    def predictions(self, subject, seed, method, amount, group):
        """Return what a method decodes for the test images, trained and kept where it is missing.

        Returns
        -------
        dict of str to array
            ``image_ids`` (n,) of the test images; by target float16 (n, ...): ``c`` as predicted,
            ``c_rescaled`` brought to the targets' spread, ``c_projected`` what the contrastive loss has
            shaped (of networks). The curves of the training stand in the provenance of the file.
        """
        # Only what this method reads of the plan: a change of another method trains nothing again.
        read = {"ridge": [], "scratch": [asdict(self.plan.sizes), asdict(self.plan.scratch[group])]}.get(
            method, [asdict(self.plan), method == "prior"]
        )
        described = {**self.description, "plan": read}
        shelf = self.study.shelf("predictions", [_predict, Trainings], described)
        part = subject, seed, method, amount, group

        def make():
            return _predict(self, *part, shelf.path(part, "-state.safetensors"))

        return shelf.get(part, make)


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
    made = trainings_of(study).predictions(subject, 0, method, amount, group)
    rescaled = study.preset.rescale if rescaled is None else rescaled
    rows = store.rows_of(made["image_ids"], study.image_ids, "the predictions")
    return torch.from_numpy(made[name + "_rescaled" * rescaled][rows]).float()


def curves(history):
    """Bring a history of `shared_space.train` to lists over epochs, by target where it has them."""
    retrieval = [epoch.get("retrieval", {}) for epoch in history]
    return {
        "loss": [epoch["loss"] for epoch in history],
        "retrieval": {name: [epoch[name] for epoch in retrieval] for name in retrieval[0]},
    }


@functools.lru_cache(maxsize=2)
def _targets(study, group):
    ids = np.unique(np.concatenate([table["image_id"] for table in study.tables.values()]))
    return {name: (target(study, name, ids).numpy(), ids) for name in GROUPS[group]}


def _without(trials, image_ids):
    betas, known = trials
    rows = ~np.isin(known, image_ids)
    return betas[rows], known[rows]


def _pretrain(trainings, subject, group, sizes, settings, state):
    """Train on all subjects but one; return the network and the curves of its training."""
    others = [other for other in trainings.study.subjects if other != subject]
    targets = trainings.targets(group)
    # Not even validation images of the target subject, should another have seen them, too.
    trials = {other: _without(trainings.trials(other), trainings.validation[subject]) for other in others}
    model = SharedSpace(
        {other: betas.shape[1] for other, (betas, _) in trials.items()},
        {name: values.shape[1:] for name, (values, _) in targets.items()},
        sizes,
        seed=settings.seed,
    ).to(trainings.study.preset.device)
    held = np.concatenate([trainings.validation[other] for other in others])
    held = np.setdiff1d(held, trainings.validation[subject])
    with torch.enable_grad():
        history = shared_space.train(
            model, trials, targets, settings, validation_image_ids=held, checkpoint=state
        )
    return model, curves(history)


def _predict(trainings, subject, seed, method, amount, group, state):
    """Train what decodes a group of targets, and decode the test images in all forms."""
    test, ids = trainings.test(subject)
    held, held_ids = trainings.held(subject, amount)
    made, found = {}, {}
    if method == "ridge":
        for name in GROUPS[group]:
            decoder = trainings.ridge(subject, amount, name)
            made |= {name + SUFFIXES[f]: decoder.predict(test, f == "rescaled", ids) for f in FORMS[:2]}
    else:
        model, found = trainings.network(subject, seed, method, amount, group, state)
        shared_space.fit_rescaling(model, held, subject, held_ids, trainings.targets(group), seed=seed)
        for form in FORMS:
            options = {"rescale": form == "rescaled", "projected": form == "projected"}
            values = shared_space.predict(model, test, subject, image_ids=ids, seed=seed, **options)
            made |= {name + SUFFIXES[form]: rows for name, rows in values.items()}
    halves = {name: rows.astype(np.float16) for name, rows in made.items()}
    state.unlink(missing_ok=True)
    return {"image_ids": ids, **halves, "provenance": {"curves": found}}
