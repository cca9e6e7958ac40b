"""`python -m bench.report`: pages and pictures hold what the saved results say, and nothing where there are none."""

import importlib.util
import json
import re
import xml.etree.ElementTree

import pytest

from bench import environment, output, performance, pictures, readme, report

HEADER = {
    "date": "2031-02-03 04:05 UTC", "commit": "0123456789", "threads": 1, "versions": {"numpy": "9.8.7"},
    "cpu": {"model": "Abacus 3000"}, "command": "-m bench.fake", "isa": "",
}  # fmt: skip
SETS = ["numba", "c"]
DTYPES = ("float32", "float64")
SECONDS = {
    "NumPy": 4321e-6, "torch": 9e-3, "JAX scan": 2e-3, "numba": 110e-6, "c": 100e-6,
    "numba, 1 thread": 165e-6, "c, 1 thread": 160e-6,
}  # fmt: skip
BOTH = dict.fromkeys(SETS, 1.0)


def steps_row(name: str) -> dict:
    reached = {"fraction_of_peak": 0.5, "fraction_of_floor": 0.6, "numpy_ratio": 43.21, "speedup": 1.6}
    return {
        "name": name, "group": "table", "wrong": {}, "backend": "c", "seconds": SECONDS, "floor": 6e-5, "c/numba": 0.9,
        "fastnn": dict.fromkeys(SETS, reached), **reached,
    }  # fmt: skip


def product_row(batch: int, dtype: str) -> dict:
    return {
        "layer": f"64x128, {batch}, {dtype}", "product": "forward", "batch": batch, "dtype": dtype, "wrong": {},
        "flops": 2 * 64 * 128 * batch, "gflops": {"NumPy": 10.0 + batch, "numba": 30.0 + batch, "c": 40.0 + batch},
        "fraction_of_peak": BOTH, "numpy_ratio": BOTH,
    }  # fmt: skip


def function_row(name: str, dtype: str) -> dict:
    errors = {name: {"normal": 1.25, "subnormal": 0.5, "special": True} for name in SETS}
    return {"name": name, "dtype": dtype, "wrong": {}, "speed": {"NumPy": 1.0} | BOTH, "errors": errors, "c/numba": 1.0}


def kernel_row(name: str, dtype: str, **more: object) -> dict:
    return {
        "name": name, "dtype": dtype, "cache": "L1", "wrong": {}, "errors": dict.fromkeys(SETS, 0.375), "c/numba": 1.0,
        "nanoseconds": {"NumPy": 2.0} | BOTH, "gigabytes_per_second": BOTH,
    } | more  # fmt: skip


LEVELS = {"L1": 300.0, "memory": 20.0}
STARTED = {"seconds": 0.31, "resident": 50.0, "peak": 60.0}
RESULTS = {
    "steps": {"sets": SETS, "rows": [steps_row("4-16-3, 32"), steps_row("5-17-4, 32")]},
    "steps_2_threads": {"sets": SETS, "rows": [steps_row("4-16-3, 32")]},
    "products": {"sets": SETS, "rows": [product_row(batch, dtype) for batch in (1, 64) for dtype in DTYPES]},
    "machine": {
        "cores": {"1": {"peaks": {d: {"64": 150.0} for d in DTYPES}, "read": LEVELS, "update": LEVELS}},
        "footprints": {"L1": 1 << 14, "memory": 1 << 30}, "call": 200.0,
    },
    "functions": {"sets": SETS, "rows": [function_row("exp", dtype) for dtype in DTYPES]},
    "kernels": {"sets": SETS, "rows": [kernel_row("mse", dtype) for dtype in DTYPES]},
    "startup": {
        "fastnn": {"numba": STARTED | {"cold": 12.0}, "c": STARTED | {"cold": 0.33}},
        "peers": {"torch": STARTED | {"seconds": 2.5}},
        "import over empty": 0.01,
    },
}  # fmt: skip
NEEDS = {
    "speedup": ["steps"], "roofline": ["products", "machine"], "accuracy": ["functions", "kernels"],
    "threads": ["steps_2_threads"], "startup": ["startup"],
}  # fmt: skip
drawing = pytest.mark.skipif(not importlib.util.find_spec("matplotlib"), reason="matplotlib is not installed")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for pages, pictures and the results, of which there are none."""
    monkeypatch.setattr(output, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(performance, "PAGE", tmp_path / "docs" / "performance.md")
    monkeypatch.setattr(pictures, "FOLDER", tmp_path / "docs" / "pictures")
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text("before\n<!-- benchmarks -->\nold\n<!-- /benchmarks -->\nafter\n")
    return tmp_path


def save(*names: str, **header: object) -> None:
    for name in names:
        output.save(name, HEADER | header, RESULTS[name])


@pytest.fixture
def without_drawing(monkeypatch):
    """matplotlib cannot be found."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_pages_hold_the_figures_of_the_newest_results(folder, without_drawing):
    save("steps")
    older = json.loads(json.dumps(RESULTS["steps"]).replace("0.004321", "0.008765"))
    output.save("steps", HEADER | {"date": "2030-01-01 00:00 UTC", "commit": "a"}, older)
    assert report.main([]) == 0
    for text in (performance.PAGE.read_text(), readme.README.read_text()):
        assert "4,321" in text
        assert "8,765" not in text
        assert "Abacus 3000" in text
        assert "commit 0123456789" in text
    assert readme.README.read_text().startswith("before\n<!-- benchmarks -->\n")
    assert readme.README.read_text().endswith("<!-- /benchmarks -->\nafter\n")


def test_check_tells_a_difference_and_then_none(folder, without_drawing, capsys):
    save("steps")
    assert report.main(["--check"]) == 1
    assert capsys.readouterr().err.count("differs from the results: python -m bench.report") == 2
    assert not performance.PAGE.exists()
    assert report.main([]) == 0
    assert report.main(["--check"]) == 0
    assert "all 2 files are what the results give" in capsys.readouterr().out


def test_without_results_there_is_an_empty_page_and_no_picture(folder, without_drawing):
    assert report.main([]) == 0
    assert performance.PAGE.read_text() == performance.TITLE
    assert readme.README.read_text() == "before\n<!-- benchmarks -->\n<!-- /benchmarks -->\nafter\n"


def test_readme_without_its_markers_is_an_error(folder, without_drawing, capsys):
    readme.README.write_text("nothing here")
    assert report.main([]) == 1
    assert "<!-- benchmarks -->" in capsys.readouterr().err


@pytest.mark.parametrize("name", NEEDS)
def test_pages_embed_a_picture_where_its_results_are(folder, name):
    save(*NEEDS[name])
    embedded = {found for found in NEEDS if f'src="pictures/{found}-light.svg"' in performance.page()}
    assert embedded == {name}
    assert f'srcset="pictures/{name}-dark.svg"' in performance.page()
    assert ('srcset="docs/pictures/speedup-dark.svg"' in readme.section()) == (name == "speedup")


@drawing
def test_every_picture_is_written_for_light_and_dark_pages(folder):
    save(*RESULTS)
    assert report.main([]) == 0
    assert report.main(["--check"]) == 0
    for name in NEEDS:
        light, dark = ((pictures.FOLDER / f"{name}-{theme}.svg").read_text() for theme in ("light", "dark"))
        assert light != dark
        for text in (light, dark):
            words = "".join(xml.etree.ElementTree.fromstring(text).itertext())
            assert "Abacus 3000" in words
            assert "commit 0123456789" in words
            assert "nan" not in text


@drawing
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("speedup", ["fastnn takes training steps 43 times as fast as NumPy", "fastest in 2 of 2 networks", "torch"]),
        ("roofline", ["69% of the FMA peak, NumPy's 49%", "L1 300 GB/s", "FMA peak 150 GFLOP/s", "float64"]),
        ("accuracy", ["at most 1.25 ulp", "more than 38% of its tolerance; numba and c err alike"]),
        ("threads", ["1.6 times as fast with 2 threads", "1.60x"]),
        ("startup", ["0.31 s after process start", "others 2.5 s", "fastnn numba, empty cache", "12 s"]),
    ],
)
def test_picture_says_what_its_results_give(folder, name, words):
    save(*NEEDS[name])
    text = (pictures.files()[pictures.FOLDER / f"{name}-light.svg"] or "").replace("&apos;", "'")
    for word in words:
        assert word in text
    assert len(text) < 150_000


@drawing
def test_picture_of_a_missing_result_is_removed(folder):
    save("startup")
    assert report.main([]) == 0
    assert {path.name for path in pictures.FOLDER.iterdir()} == {"startup-light.svg", "startup-dark.svg"}
    for path in output.RESULTS.iterdir():
        path.unlink()
    assert report.main(["--check"]) == 1
    assert report.main([]) == 0
    assert not list(pictures.FOLDER.iterdir())


@pytest.mark.parametrize("name", [name for name in NEEDS for _ in NEEDS[name]])
def test_a_picture_needs_all_of_its_results(folder, name):
    for left_out in NEEDS[name]:
        for path in output.RESULTS.glob("*"):
            path.unlink()
        save(*(found for found in NEEDS[name] if found != left_out))
        assert pictures.PICTURES[name].data() is None


def test_figures_of_different_machines_are_not_compared(folder):
    save("products", "steps_2_threads")
    save("machine", "steps", cpu={"model": "Quipu"})
    assert pictures.PICTURES["roofline"].data() is None
    _, values = pictures.PICTURES["threads"].data()
    assert values == {"4-16-3, 32": {"numba": 1.6, "c": 1.6}}


@drawing
def test_errors_have_a_panel_for_each_unit(folder):
    rows = [
        kernel_row("mse", "float32"),
        kernel_row("relu_forward", "float32", unit="ulp", errors={"NumPy": 0, "c": 30}),
    ]
    rows.append(kernel_row("adam_update", "float32", unit="ulp", cache="memory"))
    save("functions")
    output.save("kernels", HEADER, {"sets": ["c"], "rows": rows})
    _, panels = pictures.PICTURES["accuracy"].data()
    assert list(panels) == ["functions", "tolerances", "ulp"]
    assert panels["ulp"] == {"relu_forward": {"c, float32": 30}}
    assert "Operations that go number by number" in pictures.files()[pictures.FOLDER / "accuracy-dark.svg"]


OLD_SWEEP = {
    "name": "64 models", "workers": 2, "wrong": {}, "seconds": {"NumPy": 1.5, "c": 0.5},
    "numpy_ratio": {"NumPy": 1.0, "c": 3.0},
    "models_per_second": {"NumPy": 43.0, "c": 128.0}, "fraction_of_peak": {"NumPy": 0.25, "c": 0.75},
}  # fmt: skip


def test_page_shows_what_a_saved_sweep_knows(folder):
    output.save("sweep", HEADER, {"sets": ["c"], "rows": [OLD_SWEEP]})
    assert "| 64 models, by c | 2 | 0.500 | 128 | 75% | 3.00 |" in performance.page()
    assert "us a trial" not in performance.page()
    row = OLD_SWEEP | {"start": {"NumPy": 0.12}, "workers_of": {"NumPy": 2, "c": 1}, "over_one_worker": {"c": 1.95}}
    more = {
        "overhead": {"name": "9 trials", "microseconds": {"in memory": 34.0}},
        "memory": [{"name": "9 trials", "backend": "c", "milliseconds": 5.1, "before": 40.0, "peak": 61.5}],
        "grid": {
            "name": "grid", "wrong": {}, "seconds": {"sklearn": 9.0, "c": 0.5},
            "accuracy": {"sklearn": 0.98, "c": 0.9811}, "sklearn_ratio": {"sklearn": 1.0, "c": 18.0},
            "disturbed": {"sklearn": 0.0, "c": 0.0},
        },
    }  # fmt: skip
    output.save("sweep", HEADER | {"date": "2032-01-01 00:00 UTC"}, {"sets": ["c"], "rows": [row], **more})
    text = performance.page()
    lines = ["64 models, by NumPy | 2 | 1.50 | 0.12 |", "by c | 1 | 0.500 | - |", "c | 1.95 |"]
    lines += ["9 trials, in memory | 34.0", "9 trials, c | 5.10 | 40.0 | 61.5", "grid, by c | 0.500 | 18.0 | 0.9811"]
    for line in lines:
        assert line in text, line


def test_pictures_that_the_pages_name_exist():
    for page in ("README.md", "docs/performance.md"):
        path = environment.ROOT / page
        named = re.findall(r'(?:src|srcset)="([^"]+\.svg)"', path.read_text(encoding="utf-8"))
        assert named
        for name in named:
            assert (path.parent / name).is_file(), name
