"""A WordNet of a dozen synsets, in the format of wndb(5WN), written by hand."""

from pathlib import Path

SYNSETS = {
    "noun": [
        (["dog", "hound"], "a member of the genus Canis"),
        (["dog", "frank"], "a sausage"),
        (["child", "kid", "Kid_Galahad"], "a young person"),
        (["road", "route"], "an open way"),
        (["apple", "orange_tree"], "a fruit"),
        (["sofa", "couch"], "seat"),
    ],
    "verb": [(["leap", "jump"], "move forward by bounds"), (["begin", "start"], "take a step")],
    "adj": [(["big(a)", "large"], "above average"), (["quick(p)", "fast"], "speedy")],
    "adv": [(["quickly", "rapidly"], "with speed")],
}
_KINDS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
LICENCE = "  1 This software and database is being provided to you, the LICENSEE  \n"


def write_wndb(folder: Path) -> Path:
    """Write the dictionary; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, synsets in SYNSETS.items():
        data, senses = LICENCE, dict[str, list[int]]()
        for words, gloss in synsets:
            offset = len(data)
            named = " ".join(f"{word} 0" for word in words)
            data += f"{offset:08} 05 {_KINDS[name]} {len(words):02x} {named} 000 | {gloss}  \n"
            for word in words:
                senses.setdefault(word.split("(")[0].lower(), []).append(offset)
        index = LICENCE + "".join(
            f"{word} {_KINDS[name]} {len(offsets)} 1 @ {len(offsets)} 0 "
            f"{' '.join(f'{offset:08}' for offset in offsets)}  \n"
            for word, offsets in sorted(senses.items())
        )
        (folder / f"data.{name}").write_text(data)
        (folder / f"index.{name}").write_text(index)
    return folder
