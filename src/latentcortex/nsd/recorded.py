"""Refuse trials that were not recorded: they are all zero, not finite, or copies of another image's trial."""

import numpy as np

from latentcortex.nsd.arguments import file_names

# Fewer voxels can agree by chance: a voxel of a volume has as few as a hundred different values.
_FEW = 10
_LARGEST = 1e6  # percent signal change, far beyond any response


class RecordedTrials:
    """Check trials while they are read, session by session.

    A download that reserves its space first has the right size and the right header, and so does a file that
    was copied under two names. They give themselves away by trials that are zero in all voxels or equal to
    trials of other images. (Trials of one image are equal in a simulation without noise.) A voxel that is
    zero in all trials is normal: it lies outside the brain.

    Parameters
    ----------
    values : float array (n_trials, n_voxels)
        Filled by the caller before each `add`.
    """

    def __init__(self, values):
        self.values, self.names = values, []
        self.image_ids, self.sums = np.empty(0, int), []

    def add(self, parts, image_ids, name, advice=""):
        """Check the next trials.

        Parameters
        ----------
        parts : list of (pathlib.Path, slice)
            Files that the trials were read from, and the columns that each file filled.
        image_ids : int array (n_trials,)
            The images shown in the next trials.
        name : str
            Such as "session 2 of subj01".
        advice : str
            What to do if values are missing.

        Raises
        ------
        ValueError
            If values are not finite, if trials are zero in all voxels of a file, or if two trials of
            different images are equal.
        """
        start = len(self.names)
        rows = slice(start, start + len(image_ids))
        # One quick pass, in the dtype of the values: NaN, infinity and absurd numbers show in the sum of a
        # trial, and equal trials have equal sums. What the sums bring under suspicion is looked at exactly.
        with np.errstate(invalid="ignore", over="ignore"):
            sums = [self.values[rows, columns].sum(axis=1) for _, columns in parts]
        if not all(
            (np.abs(s) < _LARGEST * (c.stop - c.start + 1)).all()
            for s, (_, c) in zip(sums, parts, strict=True)
        ):
            self._refuse_missing(rows, parts, name, advice)
        self.names += [f"trial {k + 1} of {name}" for k in range(len(image_ids))]
        self.image_ids = np.append(self.image_ids, image_ids)
        self.sums = [np.append(*pair) for pair in zip(self.sums or [[]] * len(parts), sums, strict=True)]
        for (path, columns), all_sums in zip(parts, self.sums, strict=True):
            self._check_zero(path, self.values[rows, columns], all_sums[rows], name)
            self._check_equal(path, columns, all_sums, start)

    def _refuse_missing(self, rows, parts, name, advice):
        values, files = self.values[rows], file_names([path for path, _ in parts])
        missing = np.flatnonzero(~np.isfinite(values).all(axis=0))
        if not len(missing):
            raise ValueError(
                f"The largest number of {name} is {np.abs(values).max():.3g} percent signal change, which no "
                f"response reaches. One of its files is damaged: download {files} again."
            )
        raise ValueError(
            f"{len(missing):,} of {values.shape[1]:,} vertices hold NaN or infinity in {name}, the first "
            f"being number {missing[0]} of those asked for ({files}). Leave them out by a mask{advice}."
        )

    @staticmethod
    def _check_zero(path, values, sums, name):
        zero = [k for k in np.flatnonzero(sums == 0) if not values[k].any()]
        if not zero:
            return
        if len(zero) == len(values) and values.shape[1] >= _FEW:
            raise ValueError(
                f"All {len(values)} trials of {name} are zero in {path}, in all {values.shape[1]:,} voxels "
                "asked for. Either its content was never written (delete it and download it again), or the "
                "mask marks only voxels outside of the brain."
            )
        if np.count_nonzero(values.any(axis=0)) >= _FEW:
            raise ValueError(
                f"{len(zero)} of {len(values)} trials of {name} are zero in all voxels in {path}, the first "
                f"being trial {zero[0] + 1}. This part of the file was never written: download it again."
            )

    def _check_equal(self, path, columns, sums, start):
        values = self.values[: len(self.names), columns]
        _, group, size = np.unique(sums, return_inverse=True, return_counts=True)
        touched = np.unique(group[start:])
        doubtful = np.flatnonzero(np.isin(group, touched[size[touched] > 1]))
        seen, n_changing = {}, None
        for k in doubtful if values.shape[1] >= _FEW else ():
            twin = seen.setdefault(values[k].tobytes(), k)
            if self.image_ids[twin] == self.image_ids[k] or not values[k].any():
                continue
            if n_changing is None:
                n_changing = np.count_nonzero((values != values[0]).any(axis=0))
            if n_changing >= _FEW or not n_changing:
                raise ValueError(
                    f"{self.names[k]} equals {self.names[twin]} in all voxels in {path}, but they are of "
                    "different images. Was a file copied under two names? Download both again."
                )
