"""Wikipedia templates that stand for words in a sentence, converted to these words.

All other templates (notices, references, boxes, pronunciations) have no words: `words` returns the
empty string, and `radio.data.wikimarkup` tidies the gap.
"""

from collections.abc import Callable, Mapping, Sequence

# a number known only to the wiki's server: the parenthesis around it is removed too
UNKNOWN = "\x04"

Arguments = Sequence[str]
Options = Mapping[str, str]

UNITS = {
    "acre": "acres",
    "bbl": "barrels",
    "C": "°C",
    "C-change": "°C",
    "e6acre": "million acres",
    "e6carat": "million carats",
    "e6ST": "million short tons",
    "F": "°F",
    "F-change": "°F",
    "feet": "ft",
    "foot": "ft",
    "inch": "in",
    "km2": "km²",
    "Goilbbl": "billion barrels",
    "koilbbl/d": "thousand barrels a day",
    "lb": "pounds",
    "LT": "long tons",
    "mi": "miles",
    "mi2": "square miles",
    "Moilbbl": "million barrels",
    "Moilbbl/d": "million barrels a day",
    "MT": "tonnes",
    "nmi": "nautical miles",
    "oilbbl": "barrels",
    "oilbbl/d": "barrels a day",
    "oz": "ounces",
    "PD/sqmi": "people per square mile",
    "sqft": "square feet",
    "sqkm": "km²",
    "sqmi": "square miles",
    "TCUft": "trillion cubic feet",
    "USgal": "US gallons",
    "yd": "yards",
}
RANGES = {
    "-": "–",
    "–": "–",
    "to": " to ",
    "to(-)": " to ",
    "and": " and ",
    "and(-)": " and ",
    "or": " or ",
    "x": " × ",
    "by": " by ",
}
WORDS_OF_UNIT = ("ft", "in", "mi", "lb", "oz")


def words(name: str, arguments: Arguments, options: Options) -> str:
    """Return the text of the template `name` in a sentence; empty if it has no words.

    Args:
        name: the template's name in lower case.
        arguments: its positional arguments, already plain text.
        options: its named arguments, already plain text.

    >>> words("convert", ["22", "to", "25", "km2", "sqmi"], {})
    '22 to 25 km²'
    >>> words("lang", ["grc", "ἀρχή"], {}), words("cite web", [], {"title": "A page"})
    ('ἀρχή', '')
    """
    given = [argument.strip() for argument in arguments]
    if name in FIXED:
        return FIXED[name]
    if name in INLINE:
        return INLINE[name](given, options)
    if name.startswith("lang-"):
        return _first(given, options)
    if name.startswith("ipa-") and len(given) > 1 and not given[1]:
        return f"[{given[0]}]"
    if name.startswith("formatnum:"):
        return name.partition(":")[2].strip()
    return ""


def _first(given: Arguments, _options: Options) -> str:
    return given[0] if given else ""


def _second(given: Arguments, _options: Options) -> str:
    return given[1] if len(given) > 1 else ""


def _last(given: Arguments, _options: Options) -> str:
    return given[-1] if given else ""


def _joined(given: Arguments, _options: Options) -> str:
    return "".join(given)


def _convert(given: Arguments, options: Options) -> str:
    """Return `{{convert|5|to|7|km|mi}}` as the measured quantity, without its conversion."""
    if len(given) < 2:
        return _first(given, options)
    amount, rest = given[0], list(given[1:])
    while len(rest) > 2 and rest[0] in RANGES:
        amount += RANGES[rest[0]] + rest[1]
        rest = rest[2:]
    unit = UNITS.get(rest[0], rest[0])
    if len(rest) > 2 and rest[1].isdigit() and rest[2] in WORDS_OF_UNIT:
        return f"{amount} {unit} {rest[1]} {rest[2]}"
    if options.get("adj", "").startswith("on"):
        return f"{amount}-{unit.removesuffix('s')}"
    return f"{amount} {unit}"


def _fraction(given: Arguments, _options: Options) -> str:
    """Return `{{frac|3}}` as 1/3, `{{frac|1|3}}` as 1/3, `{{frac|2|1|3}}` as 2 1/3."""
    whole = f"{given[0]} " if len(given) > 2 else ""
    return whole + "/".join(["1", *given] if len(given) == 1 else given[-2:])


def _value(given: Arguments, options: Options) -> str:
    """Return `{{val|6.241|0.002|e=18|u=C}}` as 6.241 ± 0.002 × 10^18 C."""
    power = f" × 10^{options['e'].strip()}" if "e" in options else ""
    unit = options.get("u", options.get("ul", "")).strip()
    return f"{' ± '.join(given[:2])}{power} {unit}".rstrip()


def _as_of(given: Arguments, options: Options) -> str:
    """Return `{{as of|2014|lc=y}}` as "as of 2014"."""
    text = options.get("alt") or f"As of {' '.join(given)}"
    return text[0].lower() + text[1:] if "lc" in options else text


def _quotation(given: Arguments, options: Options) -> str:
    """Return the quotation as a paragraph of its own, without its author."""
    return f"\n\n{options.get('text') or options.get('1') or _first(given, options)}\n\n"


def _nuclide(given: Arguments, _options: Options) -> str:
    """Return `{{simplenuclide2|potassium|39}}` as potassium-39."""
    return "-".join(given)


def _nihongo(given: Arguments, _options: Options) -> str:
    """Return the English word, or the Japanese in Latin letters if there is none."""
    return next((given[index] for index in (0, 2) if len(given) > index and given[index]), "")


def _coordinates(given: Arguments, options: Options) -> str:
    """Return `{{coord|13|19|N|169|9|W}}` as 13°19'N 169°9'W; empty in the title of a page."""
    if len(given) < 6 or "title" in options.get("display", ""):
        return ""
    return "{}°{}'{} {}°{}'{}".format(*given)


def _date(given: Arguments, _options: Options) -> str:
    """Return `{{OldStyleDate|February 2|1905|January 20}}` as February 2, 1905."""
    return ", ".join(given[:2])


FIXED = {
    "'": "'",
    "'s": "'s",
    "' \"": "'\"",
    '-"': '"',
    "·": "·",
    "!": "|",
    "carbon": "C",
    "currentyear": UNKNOWN,
    "dot": "·",
    "hydrogen": "H",
    "inflation": UNKNOWN,
    "mdash": "—",
    "mdashb": "—",
    "nbsp": " ",
    "ndash": "–",
    "pipe": "|",
    "snd": " – ",
    "spaced ndash": " – ",
    "spaces": " ",
    "thinsp": " ",
}
# the reader sees their first argument
SHOWN_AS_IS = [
    *("abbr", "angbr", "big", "code", "flag", "flagcountry", "format price", "keypress", "large"),
    *("midsize", "music", "nobold", "nowrap", "pre2", "railgauge", "sc", "small", "smallcaps"),
    *("smaller", "tooltip", "vanchor", "visible anchor", "vr"),
]
INLINE: dict[str, Callable[[Arguments, Options], str]] = {
    **dict.fromkeys(SHOWN_AS_IS, _first),
    **dict.fromkeys(["bibleref", "ipa", "ipaslink", "script", "transl"], _last),
    **dict.fromkeys(["lang", "rtl-lang", "native name", "resize"], _second),
    **dict.fromkeys(["quote", "quotation", "blockquote", "cquote", "bquote"], _quotation),
    **dict.fromkeys(["frac", "sfrac", "fraction"], _fraction),
    "as of": _as_of,
    "chem": _joined,
    "convert": _convert,
    "coord": _coordinates,
    "cvt": _convert,
    "e": lambda given, options: f" × 10^{_first(given, options)}",
    "nihongo": _nihongo,
    "oldstyledate": _date,
    "simplenuclide2": _nuclide,
    "uss": lambda given, options: f"USS {_first(given, options)}",
    "val": _value,
}
