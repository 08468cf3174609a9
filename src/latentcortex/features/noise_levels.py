"""Compute the share of noise at a timestep of a schedule, and add this noise to latents."""

from latentcortex.features.checks import as_count, as_tensor, check_finite


def noise_share(scheduler, timesteps):
    r"""Return the share of noise in noised latents at some timesteps.

    .. math:: \sigma_t = \sqrt{1 - \bar\alpha_t}, \qquad z_t = \sqrt{\bar\alpha_t} \, z + \sigma_t \epsilon

    The share is the factor of the noise, whose standard deviation is 1. Compare two schedules by this share,
    because the numbers of their timesteps cannot be compared.

    Parameters
    ----------
    scheduler : a diffusers scheduler with ``alphas_cumprod``
    timesteps : int, or sequence or tensor of int (n,)
        Timesteps from 0 to the number of noise levels - 1.

    Returns
    -------
    shares : float64 tensor (n,), or float for a single timestep
        In (0, 1). The share increases with the timestep.

    Raises
    ------
    ValueError
        If a timestep is not a whole number, or if the schedule does not have it.
    """
    shares = (1 - scheduler.alphas_cumprod.detach().cpu().double()).sqrt()
    is_single = not hasattr(timesteps, "__len__") or getattr(timesteps, "ndim", 1) == 0
    rows = [_as_timestep(t, scheduler) for t in ([timesteps] if is_single else timesteps)]
    return float(shares[rows[0]]) if is_single else shares[rows]


def timestep_of_share(scheduler, share):
    """Return the timestep whose share of noise is nearest to a given share.

    Parameters
    ----------
    scheduler : a diffusers scheduler with ``alphas_cumprod``
    share : float
        In [0, 1], as `noise_share` returns it.

    Returns
    -------
    timestep : int
        If two are equally near, the smaller one.

    Raises
    ------
    ValueError
        If the share is not in [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(
            f"Expected a share of noise in [0, 1], got {share}. For the share at a timestep call noise_share."
        )
    shares = noise_share(scheduler, range(len(scheduler.alphas_cumprod)))
    return int((shares - share).abs().argmin())


def noised_latents(scheduler, latents, noise, timesteps):
    r"""Return latents with the noise of several timesteps, for use as features or as input of a U-Net.

    .. math:: z_t = \sqrt{\bar\alpha_t} \, z + \sqrt{1 - \bar\alpha_t} \, \epsilon

    The result is that of ``scheduler.add_noise``. That method would move the scheduler's tables to the
    latents' device.

    Parameters
    ----------
    scheduler : a diffusers scheduler with ``alphas_cumprod``
        The scheduler, which is not changed.
    latents : array or tensor (n, 4, h, w)
    noise : array or tensor (n, 4, h, w)
        Normal noise with standard deviation 1. Draw it image by image, so that a row does not depend on other
        rows.
    timesteps : sequence of int

    Returns
    -------
    noised : dict of int to tensor (n, 4, h, w)
        Noised latents by timestep, in the order given, with dtype and device of `latents`.

    Raises
    ------
    ValueError
        If latents and noise differ in shape, have missing values or are not floats, or if the schedule has no
        such timestep.
    """
    latents, noise = as_tensor(latents, "latents"), as_tensor(noise, "noise")
    if latents.ndim != 4 or latents.shape != noise.shape:
        raise ValueError(
            f"Expected latents and noise (n, 4, h, w) of one shape, got {tuple(latents.shape)} and "
            f"{tuple(noise.shape)}."
        )
    for name, values in {"latents": latents, "noise": noise}.items():
        if not values.is_floating_point():
            raise ValueError(f"Expected {name} as floats, got {values.dtype}.")
        check_finite(values, name)
    noised = {}
    for timestep in [_as_timestep(t, scheduler) for t in timesteps]:
        abar = scheduler.alphas_cumprod[timestep]  # 1 - abar would be 0 in bfloat16 where noise is low
        of_latents, of_noise = (factor.sqrt().to(latents) for factor in (abar, 1 - abar))
        noised[timestep] = of_latents * latents + of_noise * noise.to(latents)
    return noised


def _as_timestep(value, scheduler):
    timestep = as_count(value, "a timestep", at_least=0)
    n_levels = len(scheduler.alphas_cumprod)
    if timestep >= n_levels:
        raise ValueError(f"This scheduler has the timesteps 0 to {n_levels - 1}, got {timestep}.")
    return timestep
