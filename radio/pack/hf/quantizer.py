"""Our quantization method for transformers: importing this module registers it.

It is imported while transformers itself is only partly imported, so all other modules are imported
when a model is loaded.
"""

import logging
from pathlib import Path
from typing import Any

from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from radio.runtime.errors import RadioError

log = logging.getLogger(__name__)

NAME = "radio"


@register_quantization_config(NAME)
class RadioConfig(QuantizationConfigMixin):
    """`quantization_config` of config.json: the format version, and information for readers.

    Everything that decoding needs is in the header of model.safetensors.
    """

    def __init__(self, format_version: int, **words: Any) -> None:
        """Store method, rates and all other entries of config.json.

        Raises:
            RadioError: this code does not read the format version.
        """
        from radio.pack.file import check_version

        check_version(format_version, "quantization_config in config.json")
        self.__dict__ |= words | {"quant_method": NAME, "format_version": format_version}


@register_quantizer(NAME)
class RadioQuantizer(HfQuantizer):
    """Replaces linear layers by empty packed ones, which transformers fills."""

    requires_calibration = True

    @property
    def is_trainable(self) -> bool:
        """Return False: codes have no gradient."""
        return False

    def is_serializable(self) -> bool:
        """Return False: the model is already on disk."""
        log.warning(
            "save_pretrained does not save a packed model: copy the directory it was loaded from, "
            "or make a dense checkpoint of it by `radio export DIR out=DENSE`"
        )
        return False

    def update_attn_implementation(self, config: Any) -> Any:
        """Check the directory; return the configuration unchanged.

        This is the first call of transformers that names the directory. It builds the model later,
        so an edited config.json is found before that costs time or memory.

        Raises:
            RadioError: the directory was changed.
        """
        from radio.pack.hf.integrity import read_checked_manifest

        if (folder := Path(config.name_or_path)).is_dir():
            read_checked_manifest(folder)
        return config

    def _process_model_before_weight_loading(
        self, model: Any, checkpoint_files: list[str] | None = None, **_: Any
    ) -> None:
        """Check the file and prepare `model` for its tensors.

        Raises:
            RadioError: the directory was changed; or its file has another format version, does not
                fit config.json, or has values that the model's dtype cannot represent.
        """
        from radio.pack.file import check_dtype, load_coded
        from radio.pack.hf.integrity import read_checked_manifest
        from radio.pack.hf.replace import replace_linears

        if checkpoint_files is None or len(checkpoint_files) != 1:
            raise RadioError(
                f"{model.config.name_or_path} is not one model.safetensors: load the directory "
                "that `radio compress ... out=DIR` wrote"
            )
        path = Path(checkpoint_files[0])
        read_checked_manifest(path.parent)
        tensors, headers = load_coded(path)
        check_dtype(tensors, headers, model.dtype)
        replace_linears(model, tensors, headers, path)

    def _process_model_after_weight_loading(self, model: Any, **_: Any) -> Any:
        """Lay out the codes for the kernels."""
        from radio.pack.hf.replace import lay_out

        lay_out(model)
        return model
