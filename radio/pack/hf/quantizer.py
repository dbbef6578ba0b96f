"""Our models as a quantization method of transformers: importing this module registers it.

transformers imports it while it is itself half imported, so that all else is imported when a model
is loaded.
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
    """`quantization_config` of config.json: the format's version, and words for readers.

    Everything that decoding needs stands in the header of model.safetensors.
    """

    def __init__(self, format_version: int, **words: Any) -> None:
        """Take method, rates and what else config.json says.

        Raises:
            RadioError: a format that this code does not read.
        """
        from radio.pack.file import check_version

        check_version(format_version, "quantization_config in config.json")
        self.__dict__ |= words | {"quant_method": NAME, "format_version": format_version}


@register_quantizer(NAME)
class RadioQuantizer(HfQuantizer):
    """Puts packed layers where the architecture has linear ones, for transformers to fill."""

    requires_calibration = True

    @property
    def is_trainable(self) -> bool:
        """Codes have no gradient."""
        return False

    def is_serializable(self) -> bool:
        """No: what was loaded is on disk already."""
        log.warning(
            "save_pretrained does not save a packed model: copy the directory it was loaded from, "
            "or make a dense checkpoint of it by `radio export DIR out=DENSE`"
        )
        return False

    def update_attn_implementation(self, config: Any) -> Any:
        """Check the directory; the configuration stays as it is.

        transformers makes no earlier call that names the directory, and builds the model after it:
        an edited config.json costs neither time nor memory.

        Raises:
            RadioError: the directory is not as radio wrote it.
        """
        from radio.pack.hf.integrity import read_checked_manifest

        if (folder := Path(config.name_or_path)).is_dir():
            read_checked_manifest(folder)
        return config

    def _process_model_before_weight_loading(
        self, model: Any, checkpoint_files: list[str] | None = None, **_: Any
    ) -> None:
        """Check the file and make `model` ready for its tensors.

        Raises:
            RadioError: the directory is not as radio wrote it, its file is of another format or
                does not fit config.json, or has values that the model's dtype does not hold.
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
        """Order the codes for the kernels."""
        from radio.pack.hf.replace import lay_out

        lay_out(model)
        return model
