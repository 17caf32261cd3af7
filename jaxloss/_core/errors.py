"""The form of every error: the function, the argument, what was expected, what came,
and the way out."""


class Errors:
    """Words the errors of one public function."""

    def __init__(self, function: str):
        self.function = function

    def _say(self, argument: str, expected: str, came: str, way_out: str) -> str:
        return (
            f"jaxloss.{self.function}: `{argument}` must be {expected}, but it is "
            f"{came}. {way_out}"
        )

    def type_error(
        self, argument: str, expected: str, came: str, way_out: str
    ) -> TypeError:
        return TypeError(self._say(argument, expected, came, way_out))

    def value_error(
        self, argument: str, expected: str, came: str, way_out: str
    ) -> ValueError:
        return ValueError(self._say(argument, expected, came, way_out))

    def unable(self, what: str, way_out: str) -> NotImplementedError:
        """What could be, but is not."""
        return NotImplementedError(f"jaxloss.{self.function}: {what}. {way_out}")
