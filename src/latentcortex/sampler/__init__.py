"""Draw images from latents and token states with a diffusion model, guided or not.

`loop` is the sampler, one visible loop. `noise` makes the noise that a drawing starts from. `reconstruct`
draws under the conditions of system A. `guidance` corrects the predicted noise along the gradient of a guide,
and `guides` makes guides. `measurements` says what responses measure of an image and with how much noise, and
`kalman` corrects the predicted image by them. `precise_guides` guides by features whose noise is known, which
`residuals` measures, and `condition_draws` draws c from what a decoder leaves open. `checks` raises errors
for input that cannot be sampled and for drawings that diverge.
"""

from latentcortex.sampler.condition_draws import ConditionNoise, condition_noise, draw_conditions
from latentcortex.sampler.feature_basis import FeatureBasis, FeatureReader, clip_features
from latentcortex.sampler.guidance import Guidance, GuidedStep
from latentcortex.sampler.guides import (
    FeatureTargets,
    brain_guide,
    colour_guide,
    equivalent_feature_scale,
    feature_guide,
)
from latentcortex.sampler.kalman import DenoisingErrors, KalmanCorrection, denoising_errors
from latentcortex.sampler.loop import sample
from latentcortex.sampler.measurements import Components, Measurement, measurement_of
from latentcortex.sampler.noise import denoising_timesteps, make_generator
from latentcortex.sampler.precise_guides import PreciseGuidance, PreciseGuide, ResidualGaussian
from latentcortex.sampler.reconstruct import CONDITIONS, reconstruct
from latentcortex.sampler.residuals import calibration, predicted_features, residual_gaussian

__all__ = [
    "CONDITIONS",
    "Components",
    "ConditionNoise",
    "DenoisingErrors",
    "FeatureBasis",
    "FeatureReader",
    "FeatureTargets",
    "Guidance",
    "GuidedStep",
    "KalmanCorrection",
    "Measurement",
    "PreciseGuidance",
    "PreciseGuide",
    "ResidualGaussian",
    "brain_guide",
    "calibration",
    "clip_features",
    "colour_guide",
    "condition_noise",
    "denoising_errors",
    "denoising_timesteps",
    "draw_conditions",
    "equivalent_feature_scale",
    "feature_guide",
    "make_generator",
    "measurement_of",
    "predicted_features",
    "reconstruct",
    "residual_gaussian",
    "sample",
]
