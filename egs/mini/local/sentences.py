"""Varied plain English sentences from a small grammar: something for the synthetic speakers to say."""

from __future__ import annotations

import numpy as np

_PEOPLE = (
    "my neighbour|the young doctor|an old friend|our driver|the woman next door|her brother|the new teacher|"
    "a tall stranger|the baker|his cousin|the engineer|somebody from the office|the gardener|two children|"
    "the whole family|a quiet student|their uncle|the night guard|everyone in the village|the pilot"
)
_DID = (
    "found|carried|painted|forgot|sold|borrowed|repaired|measured|photographed|hid|noticed|ordered|dropped|"
    "described|cleaned|wrapped|studied|returned|bought|pointed at"
)
_THINGS = (
    "a yellow umbrella|the broken clock|seven wooden boxes|a jar of honey|the small boat|an enormous map|"
    "the wrong suitcase|fresh bread and cheese|a pair of boots|the kitchen table|a box of matches|"
    "the green bicycle|some very old letters|a bag of oranges|the garden gate|three thick books|"
    "a photograph of the harbour|the last piece of cake|a thermos of coffee|the piano"
)
_PLACES = (
    "behind the station|near the frozen lake|in the upper field|at the market|under the bridge|"
    "on the second floor|beside the old church|in a narrow street|by the river|across the square|"
    "outside the museum|in the back of the shop|above the valley|at the edge of the forest|in the harbour"
)
_TIMES = (
    "yesterday|before sunrise|on Thursday|during the storm|last winter|just after lunch|a week ago|"
    "around midnight|every other Sunday|in the middle of August|this morning|shortly before nine|for years"
)
_REASONS = (
    "because the road was closed|although nobody had asked|while the others slept|since it was so cheap|"
    "as if it were nothing|so we had to wait|and then went home|but never said why|until the music stopped|"
    "because it looked like rain|even though the door was locked|and everybody laughed"
)
_OPENINGS = "well|you know|actually|to be honest|as far as I remember|oddly enough|I suppose|in the end"
_OPINIONS = (
    "that was a good idea|it costs far too much|we should leave earlier|the weather will change|"
    "nobody will notice|it takes about twenty minutes|there is enough for all of us|they meant it kindly|"
    "the old way was better|you can hear it from here|it works most of the time|the answer is somewhere else"
)

_WORDS = {
    name: words.split("|")
    for name, words in {
        "person": _PEOPLE,
        "did": _DID,
        "thing": _THINGS,
        "place": _PLACES,
        "time": _TIMES,
        "reason": _REASONS,
        "opening": _OPENINGS,
        "opinion": _OPINIONS,
    }.items()
}

_PATTERNS = (
    "{person} {did} {thing} {place}.",
    "{person} {did} {thing} {time}, {reason}.",
    "{time}, {person} {did} {thing}.",
    "{opening}, {person} {did} {thing} {place}.",
    "{opening}, I think {opinion}.",
    "{place}, {person} {did} {thing}, {reason}.",
    "Do you believe that {person} {did} {thing} {time}?",
    "I asked {person} whether {opinion}, {reason}.",
    "{person} says {opinion}.",
    "It was {time} when {person} {did} {thing} {place}.",
)


def sentence(rng: np.random.Generator) -> str:
    """One sentence of some 6 to 20 words, drawn with ``rng``."""
    pattern = str(rng.choice(_PATTERNS))
    drawn = {name: str(rng.choice(words)) for name, words in _WORDS.items()}
    text = pattern.format(**drawn)
    return text[0].upper() + text[1:]
