"""What is said of the Cosmos pipelines that are not driven, seen with a stand-in for the guardrail.

NVIDIA's licence demands the guardrail of the ``cosmos_guardrail`` package, which is not installed.
"""

import diffusers
import pytest
import torch
from diffusers.utils import is_cosmos_guardrail_available
from family_calls import painting
from tiny_parts import Tiny, built, call_of, text
from tiny_transformers import wan_vae

from epa_core.awakening import EPASettings, animate_latents, distill_latents, static_latents
from epa_core.families import register
from epa_core.families.stock import WanFirstFrame

CALL = call_of(9, 5.0, **text(16, 32))


class Approving(torch.nn.Module):
    """Finds everything safe."""

    device, dtype = torch.device("cpu"), torch.float32

    def check_text_safety(self, prompt):
        return True


class Cosmos25(diffusers.Cosmos2_5_PredictBasePipeline):
    """Its own class, so that the original stays refused in this process."""


class FirstFrame(WanFirstFrame):
    """Given as a video of one frame: as a picture it would need torchvision."""

    image_argument = "video"

    def variant(self, pipeline):
        return self

    def arguments(self, images, prompts, call, extras=()):
        given = super().arguments(images, prompts, call, extras)
        return {**given, "video": [images[0]], "num_latent_conditional_frames": 1}


def tiny(pipeline_class, scheduler, **more):
    transformer = built(
        lambda: diffusers.CosmosTransformer3DModel(
            in_channels=17,
            out_channels=16,
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=1,
            mlp_ratio=2,
            text_embed_dim=32,
            adaln_lora_dim=4,
            max_size=(4, 32, 32),
            patch_size=(1, 2, 2),
            concat_padding_mask=False,  # it would need torchvision
        )
    )
    parts = {"text_encoder": None, "tokenizer": None, "transformer": transformer, "vae": wan_vae()}
    pipeline = pipeline_class(**parts, scheduler=scheduler, **more)
    pipeline.set_progress_bar_config(disable=True)
    return Tiny(pipeline, CALL)


@pytest.mark.skipif(is_cosmos_guardrail_available(), reason="the guardrail is installed")
def test_without_the_guardrail_it_cannot_even_be_built():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True)
    for pipeline_class in (diffusers.Cosmos2VideoToWorldPipeline, Cosmos25):
        with pytest.raises(ImportError, match="cosmos_guardrail"):
            tiny(pipeline_class, scheduler)


def test_cosmos2_holds_noise_levels_of_another_kind_in_its_flow_matching_scheduler():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True)
    made = tiny(diffusers.Cosmos2VideoToWorldPipeline, scheduler, safety_checker=Approving())
    given, seen = torch.ones(1, 16, 3, 4, 4), []
    size = {"height": CALL.height, "width": CALL.width, "num_frames": CALL.num_frames}

    def keep(pipeline, step, time, tensors):
        seen.append(float(pipeline.scheduler.sigmas[0]))
        return {}

    first = made.pipeline.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["hidden_states"][0, 0, 1, 0, 0].item()),
        with_kwargs=True,
    )
    made.pipeline(
        image=painting(made),
        latents=given,
        num_inference_steps=2,
        output_type="latent",
        callback_on_step_end=keep,
        generator=torch.Generator().manual_seed(1),
        **size,
        **CALL.options,
    )
    first.remove()
    assert seen[0] == pytest.approx(80 / 81)  # 80 times ours, in the scale its network sees
    assert 80.0 in seen


def test_cosmos25_can_be_driven_with_a_stand_in():
    register(Cosmos25, FirstFrame())
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0
    )
    made = tiny(Cosmos25, scheduler, safety_checker=Approving())
    pictures = ([painting(made)], ["waves"], [3])
    settings = EPASettings("V", num_inference_steps=4, p=0.5)
    (still,) = static_latents(made.pipeline, pictures[0], CALL)
    states = []
    real = distill_latents(
        made.pipeline, *pictures, settings, CALL, on_update=lambda _, state: states.append(state)
    )
    again = distill_latents(made.pipeline, *pictures, settings, CALL, resume={0: states[0]})
    assert torch.equal(real[0], again[0])
    (final,) = animate_latents(made.pipeline, *pictures, real, None, settings, CALL)
    torch.testing.assert_close(final[:, 0], still[:, 0], rtol=0, atol=1e-5)
    assert not torch.allclose(final[:, 1:], still[:, 1:], atol=0.1)
