"""Captions to token states c."""

import torch


def encode_captions(text_encoder, tokenizer, captions, batch_size=64):
    """Encode captions as c: the token states of the text encoder, mean over an image's captions.

    As in Stable Diffusion, captions are padded (and cut) to the tokenizer's length, no attention
    mask is used, and the states after the final layer norm are taken, all tokens of them.

    Parameters
    ----------
    text_encoder : CLIPTextModel or CLIPTextModelWithProjection
    tokenizer : CLIPTokenizer
    captions : list of lists of str
        One list per image; the lists may differ in length.
    batch_size : int
        Captions (not images) per call of the network; does not change the result.

    Returns
    -------
    encoder_hidden_states : tensor (n_images, n_tokens, d)
        On the device and in the dtype of the text encoder.

    Raises
    ------
    ValueError
        If an image has no caption, if a single string comes in place of a list, or if tokenizer
        and text encoder differ in the number of tokens.
    """
    if isinstance(captions, str) or any(isinstance(of_image, str) for of_image in captions):
        raise ValueError(
            "Expected a list of captions for each image, got strings. For one caption an image, "
            "pass [[caption] for caption in captions]."
        )
    if len(captions) == 0 or any(len(of_image) == 0 for of_image in captions):
        raise ValueError("Expected at least one image, and at least one caption for each.")
    n_tokens = text_encoder.config.max_position_embeddings
    if tokenizer.model_max_length != n_tokens:
        raise ValueError(
            f"The tokenizer pads to {tokenizer.model_max_length} tokens, the text encoder has "
            f"{n_tokens} positions: they do not belong together."
        )
    texts = [text for of_image in captions for text in of_image]
    device, dtype = text_encoder.device, text_encoder.dtype
    counts = torch.tensor([len(of_image) for of_image in captions], device=device)
    image_of_text = torch.repeat_interleave(torch.arange(len(captions), device=device), counts)
    sums = torch.zeros((len(captions), n_tokens, text_encoder.config.hidden_size), device=device, dtype=dtype)
    for start in range(0, len(texts), batch_size):
        tokens = tokenizer(
            texts[start : start + batch_size],
            padding="max_length",
            max_length=n_tokens,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        states = text_encoder(tokens.to(device)).last_hidden_state
        sums = sums.index_add(0, image_of_text[start : start + batch_size], states)
    return sums / counts[:, None, None]


def unconditional(text_encoder, tokenizer):
    """Encode the empty caption, the condition that classifier-free guidance leads away from.

    Returns
    -------
    unconditional_embedding : tensor (1, n_tokens, d)
    """
    return encode_captions(text_encoder, tokenizer, [[""]])
