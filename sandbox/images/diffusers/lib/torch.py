"""torch, as far as our image server asks for it."""

float32, float16, bfloat16 = "float32", "float16", "bfloat16"


class Generator:
    """A seed."""

    def __init__(self, _device: str = "cpu") -> None:
        self.seed = 0

    def manual_seed(self, seed: int) -> "Generator":
        """Sets the seed."""
        self.seed = seed
        return self
