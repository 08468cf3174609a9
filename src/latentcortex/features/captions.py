"""Turn captions into token states c."""

import warnings

import torch

from latentcortex.features.batches import Batches
from latentcortex.features.checks import as_count


class CaptionWarning(UserWarning):
    """Warns of captions of which the network sees only a part."""


def encode_captions(text_encoder, tokenizer, captions, batch_size=64):
    """Return c: token states of the text encoder, averaged over an image's captions.

    As in Stable Diffusion, captions are padded or cut to the tokenizer's length, and no attention mask is
    used. The states of all tokens after the final layer norm are kept.

    Parameters
    ----------
    text_encoder : CLIPTextModel or CLIPTextModelWithProjection
    tokenizer : CLIPTokenizer
    captions : list of lists of str
        One list per image. The lists may differ in length.
    batch_size : int
        Captions (not images) per call of the network. It limits memory and does not change the result. The
        result and the token numbers of all captions are always held.

    Returns
    -------
    encoder_hidden_states : tensor (n_images, n_tokens, d)
        On the device and in the dtype of the text encoder.

    Raises
    ------
    ValueError
        If an image has no caption, or if a single string is passed instead of a list. Also if a caption is
        not text or has only characters that the tokenizer does not know, or if tokenizer and text encoder
        differ in the number of tokens.

    Warns
    -----
    CaptionWarning
        Once for all captions, if some are longer than the network reads, or have characters that the
        tokenizer does not know.
    """
    batch_size = as_count(batch_size, "batch_size")
    if isinstance(captions, str) or any(isinstance(of_image, str) for of_image in captions):
        raise ValueError(
            "Expected a list of captions for each image, got strings. For one caption per image, "
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
    for row, of_image in enumerate(captions):
        for text in of_image:
            if not isinstance(text, str):
                raise ValueError(f"Expected captions as text, got {text!r} for the image in row {row}.")
    tokens = _tokens(tokenizer, [str(text) for of_image in captions for text in of_image])
    device, dtype = text_encoder.device, text_encoder.dtype
    counts = torch.tensor([len(of_image) for of_image in captions], device=device)
    image_of_text = torch.repeat_interleave(torch.arange(len(captions), device=device), counts)
    sums = torch.zeros((len(captions), n_tokens, text_encoder.config.hidden_size), device=device, dtype=dtype)
    for batch in Batches(batch_size, "caption").over(len(tokens)):
        with batch as rows:
            states = text_encoder(tokens[rows].to(device)).last_hidden_state
            # In place: a sum that is made again for each batch would be copied as often as there are batches.
            sums.index_add_(0, image_of_text[rows], states)
    return sums.div_(counts[:, None, None])


def unconditional(text_encoder, tokenizer):
    """Return the token states of the empty caption, which classifier-free guidance steers away from.

    Returns
    -------
    unconditional_embedding : tensor (1, n_tokens, d)
    """
    return encode_captions(text_encoder, tokenizer, [[""]])


def _tokens(tokenizer, texts):
    """Return the token numbers (n, n_tokens) of texts; say what of them the network will not see."""
    n_tokens = tokenizer.model_max_length
    whole = tokenizer(texts, verbose=False).input_ids
    # The first and the last token of each are those of start and end, which may double as unknown ones.
    unknown = [sum(token == tokenizer.unk_token_id for token in row[1:-1]) for row in whole]
    for text, row, n_unknown in zip(texts, whole, unknown, strict=True):
        if n_unknown and n_unknown == len(row) - 2:
            raise ValueError(
                f"The tokenizer knows none of the signs in the caption {text!r}, and would pass on the empty "
                "caption. Translate it into the language that the text encoder was trained on."
            )
    for what, rows in {
        f"Captions longer than {n_tokens} tokens are cut there": [len(row) > n_tokens for row in whole],
        "Captions hold signs that the tokenizer doesn't know": unknown,
    }.items():
        if any(rows):
            first = next(text for text, found in zip(texts, rows, strict=True) if found)
            message = f"{what}: {sum(map(bool, rows))} of {len(texts)}, such as {first[:100]!r}."
            warnings.warn(message, CaptionWarning, stacklevel=3)
    return tokenizer(
        texts, padding="max_length", max_length=n_tokens, truncation=True, return_tensors="pt"
    ).input_ids
