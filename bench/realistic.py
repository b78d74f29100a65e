"""Realistic records: events among the other members that ad servers log, about 366 bytes each.

Nested objects and arrays, optional members, escapes, UTF-8 and long strings stand before, between and after the three
members that count. Each record picks its four runs of other members from pools, independently of each other, so that
a record says little about the next one.
"""

from collections.abc import Iterator
from functools import cache
from itertools import permutations
from random import Random

Members = list[str]

MIXES = ("realistic", "realistic-dense", "realistic-text", "realistic-shuffled")
"""Names of the mixes, which are formats of `bench.events`.

realistic: about nine members besides the three, two of them long strings. realistic-dense: twice as many, most of them
short. realistic-text: texts with many escapes and non-ASCII characters, spaces after colons and commas.
realistic-shuffled: as realistic, keys in any order.
"""

_POOL = 1 << 12  # texts of each of the four runs
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Gecko/20100101 Firefox/87.{}",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 14_{} like Mac OS X) AppleWebKit/605.1",
    "Mozilla/5.0 (Linux; Android 11) AppleWebKit/537.36 Chrome/88.0.{} Mobile",
    "Roku/DVP-{}",
)
_BUILD = " Safari/537.36 (build 20210401; adsdk/3.14.15)"
_QUERY = "?utm_source=newsletter&utm_medium=em"
_CITIES = ("Berlin", "Paris", "New York", "Zürich", "São Paulo", "東京", "Łódź", "London", "Rome", "Madrid")
_TITLES = (
    "Summer sale",
    'The \\"big\\" one',
    "Fr\\u00fchling 2021",
    "Soldes d'été",
    "Line one\\nline two",
    "C:\\\\ads\\\\spot.mp4",
    "新しい車",
    "Up to 50 % off",
)
_SEGMENTS = ("sports", "news", "auto", "travel", "finance", "cooking", "gaming", "health")
_SITES = ("example.com", "news.example.org", "video.example.net")


class _Writer:
    """Writes random members of a mix as text."""

    def __init__(self, mix: str) -> None:
        self._random = Random(mix)
        self._dense, self._texts = mix == "realistic-dense", mix == "realistic-text"
        self._shuffled = mix == "realistic-shuffled"
        self._comma, self._colon = (", ", ": ") if self._texts else (",", ":")

    def run(self, number: int) -> str:
        """One of the four runs of members, as text."""
        members = [member for member in (self._before, self._user, self._creative, self._after)[number]() if member]
        if self._shuffled:
            self._random.shuffle(members)
        return self.join(members)

    def join(self, members: Members) -> str:
        """Members or elements with commas between them."""
        return self._comma.join(members)

    def member(self, name: str, value: str) -> str:
        """A name and a value."""
        return f'"{name}"{self._colon}{value}'

    def _before(self) -> Members:
        return [self.member("v", self._number(4)), self._more(0.5, "host", f'"edge-{self._number(40)}"')]

    def _user(self) -> Members:
        segments = [f'"{name}"' for name in self._random.sample(_SEGMENTS, self._random.choice((0, 1, 1, 2, 2, 3)))]
        uid = self.member("uid", f'"{self._random.getrandbits(40):010x}"')
        listed = self.member("segments", f"[{self.join(segments)}]")
        user = self.member("user", self._object(uid, self._more(0.3, "age", self._number(90)), listed))
        return [user, self._more(0.8, "consent", self._random.choice(("true", "false", "null")))]

    def _creative(self) -> Members:
        agent = self._random.choice(_AGENTS).format(self._number(10_000))
        title = self._maybe(1 if self._dense else 0.3, "title", self._text(_TITLES))
        campaign = self._maybe(1 if self._dense else 0.4, "campaign", self._number(10**5))
        members = [self.member("ad", self._object(campaign, title))] if self._dense else [campaign, title]
        size = self._more(0.3, "size", f"[{self.join([self._number(1000), self._number(1000)])}]")
        return [*members, size, self.member("ua", f'"{agent}{"" if self._dense else _BUILD}"')]

    def _after(self) -> Members:
        at = self._object(self.member("lat", f"{self._random.uniform(-60, 60):.4f}"))
        geo = self._object(self.member("city", self._text(_CITIES)), self._more(0.7, "at", at))
        price = self._more(0.6, "price", f"{self._random.random() * 9:.2f}")
        return [self.member("geo", geo), self.member("url", self._url()), price]

    def _object(self, *members: str) -> str:
        return "{" + self.join([member for member in members if member]) + "}"

    def _number(self, below: int) -> str:
        return str(self._random.randrange(below))

    def _maybe(self, chance: float, name: str, value: str) -> str:
        return self.member(name, value) if self._random.random() < chance else ""

    def _more(self, chance: float, name: str, value: str) -> str:
        """A member of the dense mix only."""
        return self._maybe(chance if self._dense else 0, name, value)

    def _text(self, texts: tuple[str, ...]) -> str:
        words = self._random.choices(texts, k=self._random.randint(1, 4) if self._texts else 1)
        return '"' + " ".join(words) + '"'

    def _url(self) -> str:
        slash = "\\/" if self._texts else "/"
        path = slash.join(("https:", "", self._random.choice(_SITES), "watch", self._number(10**6)))
        return f'"{path}{"" if self._dense else _QUERY}"'


@cache
def _shapes(mix: str) -> tuple[list[list[str]], list[str]]:
    """The pools of a mix, and its records with a name for each run and value, to be formatted by %."""
    writer = _Writer(mix)
    runs = [f"%({run})s" for run in range(4)]
    fields = [writer.member("id", '"%(id)s"'), writer.member("event", '"%(event)s"')]
    fields.append(writer.member("timestamp", "%(timestamp)d"))
    order = (runs[0], fields[0], runs[1], fields[1], runs[2], fields[2], runs[3])
    orders = permutations(order) if mix == "realistic-shuffled" else [order]
    pools = [[writer.run(number) for _ in range(_POOL)] for number in range(len(runs))]
    return pools, ["{" + writer.join(list(parts)) + "}" for parts in orders]


def records(mix: str, events: Iterator[tuple[str, str, int]], choices: list[int]) -> Iterator[str]:
    """Writes each event as a record of the mix.

    Args:
      mix: one of MIXES.
      events: id, event type and timestamp of each.
      choices: a random number of 62 bits for each, which picks the other members.
    """
    pools, shapes = _shapes(mix)
    for (identity, event, timestamp), choice in zip(events, choices, strict=True):
        values: dict[str, str | int] = {"id": identity, "event": event, "timestamp": timestamp}
        values |= {str(run): pool[choice // _POOL**run % _POOL] for run, pool in enumerate(pools)}
        yield shapes[choice // _POOL ** len(pools) % len(shapes)] % values
