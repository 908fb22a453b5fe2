"""DDIM's deterministic step in two passes over memory, for clips whose denoiser costs no more."""

from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler, DDIMSchedulerOutput
from diffusers.schedulers.scheduling_utils import SchedulerMixin

__all__ = ["LeanDDIMScheduler", "SchedulerMixin"]  # diffusers looks the base up beside the class


class LeanDDIMScheduler(DDIMScheduler):
    """The stock scheduler, whose plain case (epsilon, no noise, no clipping) is one formula.

    With z_t = a z + s eps, the step to (a', s') of DDIM (Song et al., 2021, equation 12 with
    sigma = 0) is (a'/a) z_t + (s' - a' s / a) eps. Every other case is the stock step.
    """

    def step(
        self,
        model_output: torch.Tensor,
        timestep: int,
        sample: torch.Tensor,
        eta: float = 0.0,
        use_clipped_model_output: bool = False,
        generator: Any = None,
        variance_noise: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> DDIMSchedulerOutput | tuple[torch.Tensor, ...]:
        """Return the sample one step less noisy; ``model_output`` is overwritten on the way.

        Shapes and dtypes as given; without ``return_dict`` a tuple of the sample alone.
        """
        config = self.config
        plain = eta == 0 and config.prediction_type == "epsilon" and not return_dict
        if not plain or config.clip_sample or config.thresholding:
            return super().step(
                model_output,
                timestep,
                sample,
                eta,
                use_clipped_model_output,
                generator,
                variance_noise,
                return_dict,
            )
        before = int(timestep) - config.num_train_timesteps // self.num_inference_steps
        now = float(self.alphas_cumprod[int(timestep)])
        then = float(self.alphas_cumprod[before] if before >= 0 else self.final_alpha_cumprod)
        following = sample * (then / now) ** 0.5
        # Separate products and sums: rounding does not depend on an element's place in the batch.
        model_output *= (1 - then) ** 0.5 - (then * (1 - now) / now) ** 0.5
        following += model_output
        return (following,)
