"""Each defect of `mutants.py` can still be planted: the line that it changes and the test are there."""

import ast
from pathlib import Path

import mutants


def test_every_defect_has_one_sound_line_and_a_test():
    for defect, name, sound, broken, test in mutants.MUTANTS:
        text = (mutants.ROOT / "src" / "latentcortex" / name).read_text(encoding="utf-8")
        assert text.count(sound) == 1, defect
        ast.parse(text.replace(sound, broken))
        file, function = test.partition("[")[0].split("::")
        assert f"def {function}(" in Path(mutants.ROOT, "tests", file).read_text(encoding="utf-8"), defect
