"""Read one session of NSD's volumes at its real size: time and peak memory, beside plain loading.

Reads nothing; writes made-up integers of subject 1's shape (81 x 104 x 83 voxels, 750 trials, 1.05
GB) into a temporary folder, as hdf5 in the chunks that NSD has and as packed NIfTI, and removes
them. Each contender reads as many voxels as ``nsdgeneral`` has (15,724, a ball at the occipital
pole) twice, in a process of its own; the faster run counts. Memory is the most that the process
held during the runs, interpreter and libraries included (Linux).
"""

import argparse
import gzip
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import nibabel
import numpy as np
from peak_memory import memory, reset_peak
from tqdm.auto import tqdm

from latentcortex.nsd import volumes

SHAPE, N_TRIALS, N_VOXELS = (81, 104, 83), 750, 15_724


def make_mask():
    """Mark the voxels that lie closest to a point near the back of the head, (nx, ny, nz)."""
    x, y, z = np.indices(SHAPE)
    distance = (x - SHAPE[0] / 2) ** 2 + (y - 15) ** 2 + (z - SHAPE[2] / 2) ** 2
    order = distance.ravel().argsort(kind="stable")
    mask = np.zeros(SHAPE, bool)
    mask.ravel()[order[:N_VOXELS]] = True
    return mask


def write_sessions(folder):
    """Write the same made-up session in both forms, a slice or a trial at a time."""
    rng = np.random.default_rng(0)
    plan = {"shape": (N_TRIALS, *SHAPE[::-1]), "dtype": np.int16, "chunks": (N_TRIALS, 1, 1, 1)}
    slices = np.lib.format.open_memmap(folder / "plain.npy", "w+", np.int16, plan["shape"])
    with h5py.File(folder / "betas_session01.hdf5", "w") as file:
        made = file.create_dataset("betas", **plan)
        for k in tqdm(range(SHAPE[2]), desc="hdf5"):
            slices[:, k] = rng.integers(-900, 900, (N_TRIALS, *SHAPE[1::-1]), dtype=np.int16)
            made[:, k] = slices[:, k]
    header = nibabel.Nifti1Header()
    header.set_data_shape((*SHAPE, N_TRIALS))
    header.set_data_dtype(np.int16)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with gzip.open(folder / "betas_session01.nii.gz", "wb", compresslevel=1) as file:
        file.write(header.binaryblock + bytes(4))
        for trial in tqdm(slices, desc="NIfTI"):
            file.write(trial.tobytes())  # (nz, ny, nx) in C order: NIfTI's x runs fastest
    (folder / "plain.npy").unlink()


def ours(path, mask):
    out = np.empty((N_TRIALS, np.count_nonzero(mask)), np.float32)
    volumes.read_session(path, N_TRIALS, mask, out)
    return out


def plain_hdf5(path, mask):
    with h5py.File(path) as file:
        return file["betas"][:].T[mask].T / np.float32(300)


def plain_nifti(path, mask):
    return np.asarray(nibabel.load(path).dataobj)[mask].T / np.float32(300)


CONTENDERS = {
    "hdf5, latentcortex": (ours, "betas_session01.hdf5"),
    "hdf5, all of it with h5py": (plain_hdf5, "betas_session01.hdf5"),
    "NIfTI, latentcortex": (ours, "betas_session01.nii.gz"),
    "NIfTI, all of it with nibabel": (plain_nifti, "betas_session01.nii.gz"),
}


def run_one(name, folder):
    """Run one contender; return its seconds, peak memory (GB) and a sum to compare."""
    read, file = CONTENDERS[name]
    mask, seconds = make_mask(), []
    reset_peak()
    for _ in range(2):
        start = time.perf_counter()
        values = read(folder / file, mask)
        seconds.append(time.perf_counter() - start)
    peak = memory("VmHWM")
    weights = np.random.default_rng(1).normal(size=values.shape)  # tells voxels and trials apart
    total = float((weights * values).sum())
    return {"seconds": min(seconds), "gigabytes": peak / 1e9, "sum": total}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", choices=CONTENDERS, help="run this contender alone, print JSON")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run_one(args.one, args.folder)))
        return
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores;",
        f"{N_VOXELS:,} of {np.prod(SHAPE):,} voxels, {N_TRIALS} trials",
    )
    with tempfile.TemporaryDirectory() as folder:
        write_sessions(Path(folder))
        sums = []
        for name in CONTENDERS:
            command = [sys.executable, __file__, "--one", name, "--folder", folder]
            made = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
            print(f"{made['seconds']:7.1f} s {made['gigabytes']:6.2f} GB  {name}", flush=True)
            sums.append(made["sum"])
    if not np.allclose(sums, sums[0]):
        raise ValueError(f"The contenders read different numbers: sums {sums}.")


if __name__ == "__main__":
    main()
