"""Guided sampling: ours beside a straight reading of the published algorithm, images per second.

Reads the preset's networks, or makes random ones of Stable Diffusion 1.4's size (``--size sd14``,
for a GPU); writes nothing, prints a table. The straight reading draws one image at a time in
float32, predicts the conditional noise once more for the gradient, and looks through the full VAE.
Ours draws the same images in batches: the published route, and the cheap one (without the U-Net's
Jacobian, through the tiny autoencoder) at a strength that reaches at least the same loss.
Features to guide towards are those of other images. Random networks make a mess of any image and
their losses mean nothing: there the cheap route takes the strength of the others, which changes no
time. All routes draw the same images, one after the other; on a CPU each in a process of its own,
since a process keeps the memory that it once had.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from peak_memory import memory, reset_peak

from latentcortex import features, nsd, presets, sampler

# Published configuration of CompVis/stable-diffusion-v1-4: its unet, vae and scheduler folders.
SD14_UNET = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
SD14_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}
SD14_SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


class Run:
    """Networks, what to draw, and the settings; the same for everyone who draws."""

    def __init__(self, size, n_images, device, batch_size=None):
        generator = torch.Generator().manual_seed(0)
        self.device, self.size, preset = device, size, presets.get("mini")
        if size == "mini":
            model = features.load_latent_diffusion(preset.model, device=device)
            self.unet, self.vae, self.scheduler = model.unet, model.vae, model.scheduler
            self.tiny = features.load_tiny_vae(preset.tiny_vae, device)
            self.encoder = features.load_clip_image_encoder(preset.guide, device)
            root = preset.open()
            ids = nsd.split(nsd.trials(root, "subj01"))[1]
            if 2 * n_images > len(ids):
                raise ValueError(f"--images of at most {len(ids) // 2}, got {n_images}.")
            ids = ids[: 2 * n_images]
            images = torch.from_numpy(nsd.images(root, ids))
            c = features.encode_captions(
                model.text_encoder, model.tokenizer, nsd.captions(root, ids[:n_images])
            )
            self.empty = features.unconditional(model.text_encoder, model.tokenizer)
            z = features.encode_images(model.vae, images[:n_images])
            # What a decoder gives is blurred.
            self.latents = F.interpolate(F.avg_pool2d(z, 2), scale_factor=2.0).to(device)
            self.c, goals = c, images[n_images:]
            self.settings = {"strength": 0.6, "n_steps": 20, "guidance_scale": 5.0}
            self.scale, self.share, self.batch_size = 300.0, 0.5, batch_size or 32
        else:
            import open_clip

            half = torch.float16 if device.type == "cuda" else torch.float32
            torch.manual_seed(0)
            with device:
                self.unet = UNet2DConditionModel(**SD14_UNET).to(half)
                self.vae, self.tiny = AutoencoderKL(**SD14_VAE), AutoencoderTiny()
            self.scheduler = DDIMScheduler(**SD14_SCHEDULER)
            visual = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None).visual
            visual = visual.to(device).eval().requires_grad_(False)
            mean, std = (torch.full((3, 1, 1), value, device=device) for value in (0.5, 0.25))
            self.encoder = features.ClipImageEncoder(visual, mean, std, 224, "random")
            for network in (self.unet, self.vae, self.tiny):
                network.eval().requires_grad_(False)
            self.latents = torch.randn(n_images, 4, 64, 64, generator=generator).to(device, half)
            self.c = torch.randn(n_images, 77, 768, generator=generator).to(device, half)
            self.empty = torch.randn(1, 77, 768, generator=generator).to(device, half)
            goals = torch.rand(n_images, 3, 224, 224, generator=generator)
            self.settings = {"strength": 0.75, "n_steps": 50, "guidance_scale": 7.5}
            self.scale, self.share, self.batch_size = 1.0, 0.2, batch_size or 4
        g = features.encode_clip_layers(self.encoder, goals.to(device))
        self.ids = torch.arange(n_images)
        self.targets = sampler.FeatureTargets(g, self.ids.tolist(), self.encoder.name)
        self.guide = sampler.feature_guide(self.encoder, self.targets)

    def ours(self, scale=None, share=None, **route):
        """Draw with the package's sampler: latents of all images."""
        scale, share = (self.scale, self.share) if scale is None else (scale, share)
        route = {"decoder": self.vae} | route
        guidance = sampler.Guidance(self.guide, scale, share, **route) if scale else None
        return sampler.sample(
            self.unet,
            self.scheduler,
            self.c,
            self.empty,
            latents=self.latents,
            generators=[sampler.make_generator(i, 0) for i in self.ids.tolist()],
            guidance=guidance,
            batch_size=self.batch_size,
            **self.settings,
        )

    @torch.no_grad()
    def as_read(self, n):
        """Draw n images as the published algorithm is written, one after the other."""
        w, unet, drawn = self.settings["guidance_scale"], self.unet.float(), []
        n_steps, strength = self.settings["n_steps"], self.settings["strength"]
        timesteps = sampler.denoising_timesteps(self.scheduler, n_steps, strength)
        self.scheduler.set_timesteps(n_steps)
        n_guided = int(self.share * len(timesteps))
        for i in range(n):
            z, c = self.latents[i : i + 1].float(), self.c[i : i + 1].float()
            noise = torch.randn(z.shape, generator=sampler.make_generator(i, 0)).to(z)
            z = self.scheduler.add_noise(z, noise, timesteps[:1])
            for step, t in enumerate(timesteps):
                abar = self.scheduler.alphas_cumprod[t].to(self.device)
                states = torch.cat([self.empty.float(), c])
                uncond, cond = unet(torch.cat([z, z]), t, encoder_hidden_states=states)[0].chunk(2)
                noise_pred = uncond + w * (cond - uncond)
                if step < n_guided:
                    with torch.enable_grad():
                        leaf = z.clone().requires_grad_()
                        again = unet(leaf, t, encoder_hidden_states=c)[0]
                        x0 = (leaf - (1 - abar) ** 0.5 * again) / abar**0.5
                        gamma = (1 - abar) ** 0.5
                        seen = features.decode_latents(self.vae, gamma * x0 + (1 - gamma) * leaf)
                        loss = self.guide(seen, [i]).sum()
                        gradient = torch.autograd.grad(loss, leaf)[0]
                    noise_pred = noise_pred + self.scale * (1 - abar) ** 0.5 * gradient
                z = self.scheduler.step(noise_pred, t, z).prev_sample
            drawn.append(z)
        return torch.cat(drawn)

    @torch.no_grad()
    def loss(self, latents):
        """Compute the guide's mean loss of what was drawn."""
        images = features.decode_latents(self.vae, latents.float(), 4)
        parts = zip(images.split(4), self.ids[: len(images)].split(4), strict=True)
        return float(torch.cat([self.guide(some, ids) for some, ids in parts]).mean())

    def timed(self, draw):
        """Call once: what was drawn, seconds, memory held before and the peak above it (bytes)."""
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() if cuda else reset_peak()
        start = time.perf_counter()
        latents = draw()
        if cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        peak = torch.cuda.max_memory_allocated() if cuda else memory("VmHWM")
        return latents, seconds, before, peak - before


def measure(run, args, route, times):
    """Measure one route in this process."""
    cheap = {"decoder": run.tiny, "through_unet": False}
    draw = {
        "unguided": lambda: run.ours(0),
        "straight reading": lambda: run.as_read(args.read),
        "published route": run.ours,
        "cheap route": lambda: run.ours(times * run.scale, run.share, **cheap),
    }[route]
    if not args.first_call:
        draw()  # what is made at the first call is not counted
    latents, seconds, held, peak = run.timed(draw)
    first = latents[: args.read]
    return {
        "seconds_per_image": seconds / len(latents),
        "held": held,
        "peak": peak,
        "loss": run.loss(first),
        "latents": first.float().flatten().tolist() if args.size == "mini" else [],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("mini", "sd14"), default="mini")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument(
        "--read",
        type=int,
        default=8,
        help="images of the straight reading, and those that losses are compared on",
    )
    parser.add_argument("--batch", type=int, help="images at once (ours); default 32, or 4")
    parser.add_argument("--first-call", action="store_true", help="count the first call")
    parser.add_argument("--route", help="measure this one alone and print it as JSON")
    parser.add_argument("--times", type=float, default=1.0, help="strength of the cheap route")
    args = parser.parse_args()
    cuda = torch.cuda.is_available()

    def prepare():
        device = torch.device("cuda" if cuda else "cpu")
        return Run(args.size, args.images, device, args.batch)

    if args.route:
        print("JSON", json.dumps(measure(prepare(), args, args.route, args.times)))
        return
    name = (
        torch.cuda.get_device_name()
        if cuda
        else (
            f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads of "
            f"{os.cpu_count()} cores"
        )
    )
    print(f"{args.size} on {name}, torch {torch.__version__}; {args.images} images")

    here = prepare() if cuda else None

    def run(route, times=1.0):
        if cuda:
            return measure(here, args, route, times)
        command = [sys.executable, *sys.argv, "--route", route, "--times", str(times)]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        return json.loads(answer.split("JSON ")[-1])

    found = {route: run(route) for route in ("unguided", "published route")}
    # The cheap gradient is another: the least strength of a few that reaches the same loss.
    for times in (1, 1.5, 2, 3, 4) if args.size == "mini" else (1,):
        found[f"cheap route, strength x {times:g}"] = cheap = run("cheap route", times)
        if args.size != "mini" or cheap["loss"] <= found["published route"]["loss"]:
            break
        found.pop(f"cheap route, strength x {times:g}")
    found["straight reading"] = run("straight reading")  # last: it makes the U-Net float32
    pairs = zip(found["straight reading"]["latents"], found["published route"]["latents"], strict=True)
    off = max((abs(a - b) for a, b in pairs), default=float("nan"))
    print(f"straight reading and published route: latents differ by {off:.1e} at most")
    reading, unguided = (found[r]["seconds_per_image"] for r in ("straight reading", "unguided"))
    for label, one in found.items():
        each = one["seconds_per_image"]
        print(
            f"{label:28} {1 / each:7.3f} images/s, {reading / each:5.2f} x straight reading, "
            f"{each / unguided:5.2f} x time of unguided, {one['held'] / 1e9:.2f} GB held, "
            f"{one['peak'] / 1e9:6.2f} GB more at the peak, loss {one['loss']:.4f}"
        )


if __name__ == "__main__":
    main()
