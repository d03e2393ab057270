"""Ways to change a word: each makes candidate texts out of a text and the index of one of its words."""

from typing import TYPE_CHECKING, Protocol, Self

from ..engine import Search
from ..text import Text

if TYPE_CHECKING:
    from ..victim import Victim


class Transform(Protocol):
    """Candidate texts that differ from a text in one place. A generator: it may ask services."""

    name: str
    """For results: what it is and which resource it uses, such as "synonyms: WordNet 3.0"."""

    def candidates(self, text: Text, index: int) -> Search[list[Text]]:
        """Texts with word `index` changed, without duplicates, none equal to `text`, in a fixed order; may be empty."""
        ...

    def bound(self, victim: "Victim") -> Self:
        """The same for a victim, whose embedding table, gradient or tokenizer it may need; most need nothing."""
        ...
