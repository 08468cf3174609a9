"""Latent Cortex: decode images from brain responses with latent diffusion, and map it back.

Conventions of all modules:

========================  ======================================================================
images                    on disk ``uint8 (n, h, w, 3)``; in memory ``float32 (n, 3, h, w)`` in
                          [0, 1]; in [-1, 1] only inside the calls of the VAE
betas                     ``float32 (n_trials, n_voxels)``, percent signal change or z-scores;
                          surfaces: left hemisphere first, then right
z, ``latents``            ``(n, 4, h / f, w / f)``: latent of the image times the VAE's
                          ``scaling_factor``
c                         ``encoder_hidden_states (n, n_tokens, d)``: token states of the text
                          encoder, mean over an image's captions
g                         features of several layers of a CLIP image encoder
image_ids                 0-based ids of NSD's 73,000 pictures; rows are known by id, never by
                          position
noise_ceiling             a share of variance (R2) from 0 to 1; its root is that of a correlation
alpha                     ridge penalty, never anything else
guidance_scale            w of classifier-free guidance
feature_scale             weight of the feature gradient (kappa)
guided_share              share of the steps that are guided (eta of NeuralDiffuser)
ddim_eta                  the eta of DDIM
randomness                an argument: ``generator=`` or ``rng=``
========================  ======================================================================
"""

import os

# A thread that waits for another one sleeps instead of spinning. Beside another busy process, spinning
# threads make a small fit many times slower, because they hold the core that the other thread waits for.
# The library of threads reads this once, when torch is loaded: import latentcortex before torch, or set it
# in the shell. A value of your own wins. The number of threads is OMP_NUM_THREADS, or else the preset's.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
