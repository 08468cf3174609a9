"""What the scripts of the shared space share: trials, targets, trainings, and predictions kept.

A part is (subject, seed, method, amount): the target subject, the number of the training, how it
decodes and how many of its sessions it learns from. Its predictions for the test images are one
file in the cache; whoever needs it first makes it.

Images are split first: of each subject 100 of the training images validate (all their showings) and
train nothing, in the first stage as in the second; the shared images test. Betas are z-scored
session by session with the trials of images that are not shared. Test responses are means of all
showings, in all sessions, whatever the amount.
"""

import functools
import json
from dataclasses import asdict, dataclass, replace

import numpy as np
import products
import reconstructions
import torch
from filelock import FileLock

from latentcortex import features, nsd, shared_space, store
from latentcortex.decoders import LinearDecoder
from latentcortex.shared_space import NetworkSizes, SharedSpace, TrainingSettings

SEED = 7
N_VALIDATION = 100
LAYERS = range(1, 7)
# Targets that one network decodes. (Published is one network for each layer of g.)
GROUPS = {"z": ("z",), "c": ("c",), "g": tuple(f"g{k}" for k in LAYERS), "zc": ("z", "c")}
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


@dataclass(frozen=True)
class Plan:
    """Sizes and trainings of the networks.

    Attributes
    ----------
    sizes : NetworkSizes
    other_prior_depth : int
        Of the method "prior".
    pretraining, finetuning, scratch : dict of str to TrainingSettings
        By group of targets.
    """

    sizes: NetworkSizes
    other_prior_depth: int
    pretraining: dict[str, TrainingSettings]
    finetuning: dict[str, TrainingSettings]
    scratch: dict[str, TrainingSettings]


def every(settings, **others):
    """Give all groups the same settings but for some fields of the groups named."""
    return {group: replace(settings, **others.get(group, {})) for group in GROUPS}


PUBLISHED = Plan(
    NetworkSizes(),
    other_prior_depth=0,
    pretraining=every(TrainingSettings(trials_per_subject=14)),
    finetuning=every(TrainingSettings(trials_per_subject=42)),
    scratch=every(TrainingSettings(trials_per_subject=42)),
)
# Chosen by 7_choose_training.py.
_SHORT = TrainingSettings(
    epochs=10, steps_per_epoch=25, warmup_epochs=1, trials_per_subject=42, lr=2e-3, token_contrastive=0.1
)
_OF = {"z": {"lr": 3e-3}}
SMALL = Plan(
    NetworkSizes(hidden_size=128, n_blocks=2, latent_channels=(8, 16), prior_depth=0, prior_heads=4),
    other_prior_depth=2,
    # Six layers at once take six times as long: half of the steps.
    pretraining=every(
        replace(_SHORT, steps_per_epoch=60, trials_per_subject=14), **_OF, g={"steps_per_epoch": 30}
    ),
    finetuning=every(_SHORT, **_OF),
    scratch=every(replace(_SHORT, epochs=20), **_OF),
)
PLANS = {64: PUBLISHED, 0: SMALL}  # by the smallest grid of latents that they are for


def plan_for(preset):
    """Find the plan for a preset's latents."""
    return next(plan for side, plan in PLANS.items() if preset.latent_shape[1] >= side)


def curves(history):
    """Bring a history of `shared_space.train` to lists over epochs, by target where it has them."""
    retrieval = [epoch.get("retrieval", {}) for epoch in history]
    return {
        "loss": [epoch["loss"] for epoch in history],
        "retrieval": {name: [epoch[name] for epoch in retrieval] for name in retrieval[0]},
    }


class Sharing:
    """Trials and targets of all subjects, and the parts made of them.

    Parameters
    ----------
    preset : latentcortex.presets.Preset
    root : path
    plan : Plan, optional
        Default: that of the preset's latents.
    """

    def __init__(self, preset, root, plan=None):
        self.preset, self.root = preset, root
        self.plan = plan_for(preset) if plan is None else plan
        self.subjects = [f"subj{subject:02d}" for subject in preset.subjects]
        self.tables = {subject: nsd.trials(root, subject) for subject in self.subjects}
        self.masks = {s: reconstructions.visual_cortex(preset, root, s) for s in self.subjects}
        self.validation = {
            subject: nsd.validation_split(
                nsd.split(table)[0], N_VALIDATION, rng=np.random.default_rng([SEED, number])
            )[1]
            for (subject, table), number in zip(self.tables.items(), preset.subjects, strict=True)
        }
        # What the samplers and judges of a preset are set to changes nothing here.
        self.description = {
            "preset": preset.name,
            "world": root.name,
            "weights": products.weights_hash(preset, "vae", "text_encoder", "tokenizer", "guide"),
            "seed": SEED,
            "n_validation": N_VALIDATION,
            "subjects": self.subjects,
            "space": preset.space,
            "image_size": preset.image_size,
            "dtype": str(preset.dtype),
            "alphas": preset.alphas,
            "n_trials": {subject: len(table) for subject, table in self.tables.items()},
            "n_voxels": {subject: int(mask.sum()) for subject, mask in self.masks.items()},
        }
        sources = products.sources([__file__], ("shared_space", "decoders", "ridge"))
        self.key = store.source_hash(sources, self.description)[:12]
        self._targets = {}

    @property
    def folder(self):
        """Where parts lie: by source and plan."""
        plan = store.source_hash([], asdict(self.plan))[:8]
        return store.cache_folder() / "7_share_a_space" / f"{self.root.name}-{self.key}-{plan}"

    @functools.cached_property
    def responses(self):
        """Read the scaled single trials of all subjects: betas (n_trials, n_voxels) by subject."""
        return {
            s: nsd.scaled_betas(self.root, s, self.preset.space, mask=self.masks[s])[1] for s in self.subjects
        }

    def trials(self, subject, amount="all"):
        """Get the trials of images that are not shared: betas (n, n_voxels), image_ids (n,)."""
        table = self.tables[subject]
        rows = ~table["shared"].to_numpy()
        if amount != "all":
            measured = nsd.trials(self.root, subject, int(amount))["session"]
            rows &= table["session"].isin(measured).to_numpy()
        return self.responses[subject][rows], table["image_id"].to_numpy()[rows]

    def test(self, subject):
        """Get the test images: means of all showings (n, n_voxels), image_ids (n,), sorted."""
        table = self.tables[subject]
        rows = table["shared"].to_numpy()
        ids = table["image_id"].to_numpy()[rows]
        return nsd.average_repeats(self.responses[subject][rows], ids)[:2]

    def held(self, subject, amount):
        """Get the validation images among those sessions: means (n, n_voxels), image_ids (n,)."""
        betas, ids = self.trials(subject, amount)
        rows = np.isin(ids, self.validation[subject])
        return nsd.average_repeats(betas[rows], ids[rows])[:2]

    def targets(self, group):
        """Compute the targets of a group for every image: (features (n, ...), ids) by name."""
        missing = [name for name in GROUPS[group] if name not in self._targets]
        if missing:
            ids = np.unique(np.concatenate([table["image_id"] for table in self.tables.values()]))
            with torch.inference_mode():
                made = self._encode_g(ids) if group == "g" else self._encode(ids)
            self._targets |= {name: (values.numpy(), ids) for name, values in made.items()}
        return {name: self._targets[name] for name in GROUPS[group]}

    def _encode(self, ids):
        preset = self.preset
        model = features.load_latent_diffusion(preset.model, preset.revision, preset.dtype, preset.device)
        return dict(zip("zc", products.encode(preset, model, self.root, ids), strict=True))

    def _encode_g(self, ids):
        encoder = features.load_clip_image_encoder(self.preset.guide, self.preset.device)
        parts = [
            features.encode_clip_layers(encoder, images, LAYERS, self.preset.batch_size)
            for images in products.image_parts(self.preset, self.root, ids)
        ]
        return {f"g{k}": torch.cat([part[k].cpu() for part in parts]) for k in LAYERS}

    def true(self, name, image_ids):
        """Look up a target of images: (n, ...) float32."""
        group = name if name in GROUPS else "g"
        values, known = self.targets(group)[name]
        return values[np.searchsorted(known, image_ids)]

    def groups(self, seed, method, amount):
        """List the groups of targets that a part decodes; g only where it is asked for."""
        if method in ("joint", "prior"):
            return {"joint": ("zc",), "prior": ("c",)}[method]
        whole = amount == "all" and seed == 0 and method != "scratch"
        return ("z", "c", "g") if whole else ("z", "c")

    def pretrained(self, subject, seed, group, sizes):
        """Pre-train on all other subjects, once: the network, and the curves of its training."""
        settings = replace(self.plan.pretraining[group], seed=seed)
        plan = store.source_hash([], [asdict(sizes), asdict(settings)])[:8]
        folder = self.folder.with_name(f"{self.root.name}-{self.key}-pretrained")
        path = folder / f"{subject}-{seed}-{group}-{plan}.safetensors"
        folder.mkdir(parents=True, exist_ok=True)
        state, notes = path.with_name(f"{path.stem}-state.safetensors"), path.with_suffix(".json")
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                others = [other for other in self.subjects if other != subject]
                targets = self.targets(group)
                model = SharedSpace(
                    {other: self.description["n_voxels"][other] for other in others},
                    {name: values.shape[1:] for name, (values, _) in targets.items()},
                    sizes,
                    seed=seed,
                ).to(self.preset.device)
                # Not even those of the target subject, should another have seen them too.
                trials = {
                    other: self._without(self.trials(other), self.validation[subject]) for other in others
                }
                held = np.concatenate([self.validation[other] for other in others])
                held = np.setdiff1d(held, self.validation[subject])
                history = shared_space.train(
                    model, trials, targets, settings, validation_image_ids=held, checkpoint=state
                )
                with store.replacing(notes) as temporary:
                    temporary.write_text(json.dumps(curves(history)))
                shared_space.save(model, path, self.preset.name)
                state.unlink()
        model = shared_space.load(path, self.preset.name, self.preset.device)
        return model, json.loads(notes.read_text())

    @staticmethod
    def _without(trials, image_ids):
        betas, known = trials
        rows = ~np.isin(known, image_ids)
        return betas[rows], known[rows]

    def network(self, subject, seed, method, amount, group, state=None):
        """Train the network of a part for a group of targets: the network and its curves."""
        sizes = self.plan.sizes
        if method == "prior":
            sizes = replace(sizes, prior_depth=self.plan.other_prior_depth)
        n_voxels, targets = self.description["n_voxels"][subject], self.targets(group)
        if method == "scratch":
            shapes = {name: values.shape[1:] for name, (values, _) in targets.items()}
            model, kept = SharedSpace({subject: n_voxels}, shapes, sizes, seed=seed), {}
            settings = self.plan.scratch[group]
        else:
            first, found = self.pretrained(subject, seed, group, sizes)
            model, kept = first.with_new_subject(subject, n_voxels, seed=seed), {"first": found}
            settings = self.plan.finetuning[group]
        history = shared_space.train(
            model.to(self.preset.device),
            {subject: self.trials(subject, amount)},
            targets,
            replace(settings, seed=seed),
            validation_image_ids=self.held(subject, amount)[1],
            checkpoint=state,
        )
        return model, {**kept, "last": curves(history)}

    def ridge(self, subject, amount, name):
        """Fit the linear decoder of a target on the same images, and its rescaling."""
        betas, ids = self._without(self.trials(subject, amount), self.validation[subject])
        betas, ids, _ = nsd.average_repeats(betas, ids)
        held, held_ids = self.held(subject, amount)
        decoder = LinearDecoder(self.preset.alphas, cv="gcv").fit(betas, self.true(name, ids), ids)
        return decoder.fit_rescaling(held, self.true(name, held_ids), held_ids)

    def path(self, subject, seed, method, amount):
        """Say where the predictions of a part lie."""
        return self.folder / f"{subject}-{seed}-{method}-{amount}.npz"

    def predictions(self, subject, seed, method, amount):
        """Read the predictions of a part, or train what makes them and keep them.

        Returns
        -------
        dict of str to array
            ``image_ids`` (n,) of the test images; by target float16 (n, ...): ``c`` as predicted,
            ``c_rescaled`` brought to the targets' spread, ``c_projected`` what the contrastive
            loss has shaped (of networks).
        """
        path = self.path(subject, seed, method, amount)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                self._make(path, subject, seed, method, amount)
        return store.load(path)

    def _make(self, path, subject, seed, method, amount):
        test, ids = self.test(subject)
        held, held_ids = self.held(subject, amount)
        made, found, states = {}, {}, []
        for group in self.groups(seed, method, amount):
            if method == "ridge":
                for name in GROUPS[group]:
                    decoder = self.ridge(subject, amount, name)
                    for form in FORMS[:2]:
                        values = decoder.predict(test, form == "rescaled", ids)
                        made[name + SUFFIXES[form]] = values
                continue
            states.append(path.with_name(f"{path.stem}-{group}-state.safetensors"))
            model, found[group] = self.network(subject, seed, method, amount, group, states[-1])
            shared_space.fit_rescaling(model, held, subject, held_ids, self.targets(group), seed=seed)
            for form in FORMS:
                values = shared_space.predict(
                    model,
                    test,
                    subject,
                    rescale=form == "rescaled",
                    projected=form == "projected",
                    image_ids=ids,
                    seed=seed,
                )
                made |= {name + SUFFIXES[form]: rows for name, rows in values.items()}
        provenance = {**self.description, "plan": asdict(self.plan), "curves": found}
        halves = {name: rows.astype(np.float16) for name, rows in made.items()}
        store.save(path, provenance=provenance, image_ids=ids, **halves)
        for state in states:
            state.unlink()  # from here on nobody needs it
