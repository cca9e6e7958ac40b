"""Reading tables and encoding them: what is told from the lines, what the encoder gives, that it survives JSON."""

import gzip
import json

import numpy as np
import pytest

from fastnn.data import DataError
from fastnn.encoding import CategoryColumn, NumberColumn, TableEncoder
from fastnn.preprocessing import ArrayEncoder, MinMaxScaler, RobustScaler, Standardizer
from fastnn.tables import numbers, read_table, texts, written_numbers

pd = pytest.importorskip("pandas")


def through_json(state):
    """What a model file does to it."""
    return json.loads(json.dumps(state, allow_nan=False))


def table(text, **options):
    """A table from lines of text."""
    return read_table(text.encode() if isinstance(text, str) else text, "file.csv", **options)


@pytest.mark.parametrize(
    ("text", "header", "columns"),
    [
        ("a,b\n1,x\n2,y\n", True, ["a", "b"]),
        ("a b\n1  x\n2\ty\n", True, ["a", "b"]),
        ("1,x\n2,y\n", False, ["0", "1"]),
        ("name;size\nx;1\ny;2\n", True, ["name", "size"]),
        ("name\tsize\nx\t?\ny\t2\n", True, ["name", "size"]),
        (" a , b \n1,2\n", True, ["a", "b"]),
        ("colour,shape\nred,round\nred,square\n", True, ["colour", "shape"]),
        ("red,round\nred,square\nblue,round\n", False, ["0", "1"]),
        ('a,b\n"x, y",1\n', True, ["a", "b"]),
        ("\ufeffa,b\n1,2\n", True, ["a", "b"]),
        ("a|b\r\n1|2\r\n", True, ["a", "b"]),
        ("\n\na,b\n\n1,2\n", True, ["a", "b"]),
        ("1.5,-2e3\n.5,7\n", False, ["0", "1"]),
    ],
)
def test_header_and_delimiter_are_told_from_the_lines(text, header, columns):
    result = table(text)
    assert result.header is header
    assert list(result.frame.columns) == columns


def test_header_can_be_decided_by_hand():
    assert list(table("2019,2020\n1,2\n", header=True).frame.columns) == ["2019", "2020"]
    assert len(table("a,b\n1,2\n", header=False).frame) == 2


def test_decimal_commas_are_read_between_semicolons():
    frame = table("a;b\n1,5;x\n2;y\n").frame
    assert frame["a"].tolist() == [1.5, 2]
    assert table("1,5;2,5\n3,5;4\n").frame.to_numpy().tolist() == [[1.5, 2.5], [3.5, 4]]


def test_missing_cells_are_told_from_the_usual_texts_and_from_the_users():
    frame = table("a,b\n1,x\n?,?\nNA, NA\n,\nnan,-\n-9,y\n", missing=["-9", "-"]).frame
    assert frame["a"].isna().tolist() == [False, True, True, True, True, True]
    assert frame["b"].isna().tolist() == [False, True, True, True, True, False]


def test_other_encodings_are_read():
    text = "naïve,b\né,1\nü,2\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "latin-1"):
        frame = table(text.encode(encoding)).frame
        assert frame["naïve"].tolist() == ["é", "ü"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "header and no rows"),
        ("\n\n  \n", "nothing but empty lines"),
        ("a,b\n1,2,3\n", "the header has 2 cells, the rows 3"),
        ("a,b\n1,2\n" * 300 + "1,2,3\n", "cannot be read as a table"),
        ('a,b\n"1,2\n3,4\n', "cannot be read as a table"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "neither a table"),
    ],
)
def test_what_is_no_table_is_refused(text, message):
    with pytest.raises(DataError, match=message) as caught:
        table(text, header=True)
    assert "file.csv" in str(caught.value)


def frame_of(rows, seed=0):
    """Numbers, categories and gaps, as a file has them."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": generator.integers(18, 90, rows).astype(float),
            "colour": generator.choice(["red", "green", "blue"], rows),
            "flag": generator.random(rows) < 0.3,
            "income": generator.lognormal(10, 1, rows),
            "city": generator.choice([f"city {i}" for i in range(6)], rows),
        }
    )
    frame.loc[generator.random(rows) < 0.1, "age"] = np.nan
    frame.loc[generator.random(rows) < 0.1, "city"] = None
    return frame


def test_table_encoder_agrees_with_scikit_learn():
    compose = pytest.importorskip("sklearn.compose")
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    train, new = frame_of(400), frame_of(100, seed=1)
    new.loc[3, "city"] = "elsewhere"
    number = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    category = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="~missing"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    judge = compose.ColumnTransformer(
        [
            ("age", number, ["age"]),
            ("c", category, ["colour"]),
            ("n", number, ["flag", "income"]),
            ("city", category, ["city"]),
        ]
    )
    as_objects = {"colour": object, "city": object, "flag": float}
    judge.fit(train.astype(as_objects).where(train.notna(), np.nan))
    encoder, notes = TableEncoder.fit(train)
    assert notes == []
    expected = judge.transform(new.astype(as_objects).where(new.notna(), np.nan))
    result, unseen = encoder.transform(new, np.float64)
    np.testing.assert_allclose(result, expected, atol=1e-12)
    assert unseen == {"city": 1}
    assert encoder.describe() == "3 number and 2 category columns as 13 inputs"


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", "none"])
def test_columns_of_a_table_are_scaled_as_the_transform_of_that_name_does(scaling):
    frame = frame_of(300)[["age", "income"]]
    encoder, _ = TableEncoder.fit(frame, scaling=scaling)
    filled = frame.fillna(frame.median()).to_numpy()
    judge = {"standard": Standardizer, "minmax": MinMaxScaler, "robust": RobustScaler}.get(scaling)
    expected = filled if judge is None else judge().fit_transform(filled)
    np.testing.assert_allclose(encoder.transform(frame, np.float64)[0], expected, rtol=1e-14, atol=1e-14)
    with pytest.raises(ValueError, match=r"TableEncoder.fit\(scaling='log'\): expected one of standard"):
        TableEncoder.fit(frame, scaling="log")
    with pytest.raises(ValueError, match=r"ArrayEncoder.fit\(scaling='log'\)"):
        ArrayEncoder.fit(filled, scaling="log")


def test_table_encoder_survives_json_bit_for_bit():
    frame = frame_of(200)
    encoder, _ = TableEncoder.fit(frame, max_categories=4)
    copy = TableEncoder.from_json(through_json(encoder.to_json()))
    assert copy == encoder
    assert copy.transform(frame)[0].tobytes() == encoder.transform(frame)[0].tobytes()


def test_missing_and_unseen_categories_have_their_places():
    train = pd.DataFrame({"c": ["a", "a", "b", "b", "c", "c", "d", None]})
    new = pd.DataFrame({"c": ["a", "d", None, "zzz"]})
    encoder, notes = TableEncoder.fit(train, max_categories=3)
    assert encoder.columns == (CategoryColumn("c", ("a", "b", "c"), missing=True, other=True),)
    assert notes == ["'c': the 3 most frequent of its 4 categories, the rest as one"]
    result, unseen = encoder.transform(new)
    assert result.tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]
    assert unseen == {}
    encoder, _ = TableEncoder.fit(train.dropna())
    result, unseen = encoder.transform(new)
    assert result.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert unseen == {"c": 1}


def test_column_of_names_is_left_out_and_said():
    train = pd.DataFrame({"name": [f"Mr {i}" for i in range(300)], "size": range(300)})
    encoder, notes = TableEncoder.fit(train)
    assert [column.name for column in encoder.columns] == ["size"]
    assert notes == ["left out 'name': 300 different texts in 300 rows, such as 'Mr 0'"]
    with pytest.raises(DataError, match="no column is left"):
        TableEncoder.fit(train[["name"]])


def test_categories_that_look_like_numbers_stay_texts_when_read_again():
    train = table("code,n\n01,1\n02,2\n3a,3\n").frame
    encoder, _ = TableEncoder.fit(train)
    again = table("code,n\n01,1\n02,2\n", text_columns=encoder.text_columns).frame
    result, unseen = encoder.transform(again)
    assert unseen == {}
    assert result[:, :3].tolist() == [[1, 0, 0], [0, 1, 0]]


def test_truth_values_are_numbers_also_beside_missing_cells():
    train = table("f,n\nTrue,1\nFalse,2\nTrue,3\n").frame
    encoder, _ = TableEncoder.fit(train)
    assert isinstance(encoder.columns[0], NumberColumn)
    gaps = table("f,n\nTrue,1\n,2\nFalse,2\n").frame
    assert np.isfinite(encoder.transform(gaps)[0]).all()
    assert isinstance(TableEncoder.fit(gaps)[0].columns[0], NumberColumn)


def test_white_space_around_a_category_does_not_count():
    codes, known = texts(pd.Series(["a", "a ", None, "b"]))
    assert [known[code] if code >= 0 else None for code in codes] == ["a", "a", None, "b"]
    assert len(known) == 2


def test_text_among_numbers_is_an_error_that_names_row_and_remedy():
    lines = "n,m\n" + "\n".join(f"{i},{i}" for i in range(100))
    with pytest.raises(DataError, match=r"column 'n' holds numbers, but 'oops' in row 101.*--missing oops"):
        TableEncoder.fit(table(lines + "\noops,3\n").frame)
    encoder, _ = TableEncoder.fit(table(lines).frame)
    with pytest.raises(DataError, match=r"column 'm' holds numbers, but 'x' in row 2"):
        encoder.transform(table("n,m\n1,2\n3,x\n").frame)
    with pytest.raises(DataError, match="'inf' in row 1"):
        encoder.transform(table("n,m\ninf,2\n").frame)


def test_numbers_too_large_to_standardise_are_left_out_or_refused():
    huge = table("n,m\n1e300,1\n-1e300,2\n").frame
    encoder, notes = TableEncoder.fit(huge)
    assert [column.name for column in encoder.columns] == ["m"]
    assert notes == ["left out 'n': numbers too large to be standardised, such as 1e+300"]
    with pytest.raises(DataError, match="column 0 holds numbers too large"):
        ArrayEncoder.fit(huge.to_numpy())
    with pytest.raises(ValueError, match="X: column 0 holds numbers too large"):
        Standardizer().fit(huge.to_numpy())
    encoder, _ = TableEncoder.fit(table("n,m\n1,2\n3,4\n").frame)
    with pytest.raises(DataError, match=r"'n' holds 1e\+300, too large"):
        encoder.transform(huge)


def test_missing_columns_are_named_and_empty_ones_left_out():
    encoder, _ = TableEncoder.fit(frame_of(50))
    with pytest.raises(DataError, match="columns 'age', 'city' missing"):
        encoder.transform(frame_of(5).drop(columns=["age", "city"]))
    encoder, notes = TableEncoder.fit(table("x,y\n,1\n,2\n").frame)
    assert [column.name for column in encoder.columns] == ["y"]
    assert notes == ["left out 'x': no values in the training rows"]
    with pytest.raises(DataError, match="no column is left to train on; left out 'x': no values"):
        TableEncoder.fit(table("x,y\n,1\n,2\n").frame[["x"]])


def test_faults_of_several_columns_are_told_at_once():
    lines = "a,b,c\n" + "\n".join(f"{i},{i},{i}" for i in range(100)) + "\nn.v.,1,k.A.\n"
    with pytest.raises(DataError, match=r"'a' holds numbers, but 'n.v.' in row 101.*; column 'c' holds .*'k.A.' in"):
        TableEncoder.fit(table(lines).frame)


@pytest.mark.parametrize(
    ("known", "example"),
    [
        (["1,000", "950", "12,500"], "1,000"),
        (["5%", "7.5 %", "80%"], "5%"),
        (["12 kg", "7kg", "-3.5 kg"], "12 kg"),
        (["$5", "$1,200.50"], "$5"),
        (["1,5", "2,75"], "1,5"),
        (["1.234,56", "2.000,00"], "1.234,56"),
        (["12 kg", "3 lb", "4 oz"], None),
        (["2020-01-01", "2020-01-02"], None),
        (["12:30", "14:00"], None),
        (["10.0.0.1", "10.0.0.2"], None),
        (["12A", "13B", "14C"], None),
        (["a", "5%"], None),
        (["1", "2"], None),
        ([], None),
    ],
)
def test_numbers_written_with_something_beside_them_are_recognised(known, example):
    assert written_numbers(known) == example


def test_columns_of_written_numbers_get_one_remark():
    frame = pd.DataFrame({"share": ["5%", "10%"] * 20, "price": [f"1,{i:03}" for i in range(40)]})
    _, notes = TableEncoder.fit(frame)
    hint = "they look like numbers: written as plain ones they would be used as such"
    assert notes[0] == f"'share': texts such as '5%' are taken as categories; {hint}"
    assert notes[1] == f"left out 'price': 40 different texts in 40 rows, such as '1,000'; {hint}"
    assert len(notes) == 2


def test_the_name_asked_for_shows_a_header():
    text = "2020,shape\n1,square\n2,round\n3,round\n"
    assert not table(text).header
    found = table(text, name="shape")
    assert (found.header, found.named, list(found.frame.columns)) == (True, "shape", ["2020", "shape"])
    assert not table(text, name="shape", header=False).header
    assert not table("1,red\n2,red\n3,blue\n", name="red").header
    assert not table("1,2\n3,4\n", name="1").header


def test_a_dash_alone_is_a_missing_cell():
    frame = table("a,b\n1,x\n-,-\n-3,y-z\n").frame
    assert frame["a"].isna().tolist() == [False, True, False]
    assert frame["b"].isna().tolist() == [False, True, False]


def test_whole_column_missing_in_new_rows_is_filled():
    encoder, _ = TableEncoder.fit(frame_of(50))
    new = table("age,colour,flag,income,city\n,,,,\n").frame
    result, unseen = encoder.transform(new)
    assert np.isfinite(result).all()
    assert unseen == {}


def test_numbers_beyond_64_bits_are_read():
    frame = table("n,m\n99999999999999999999999,1\n1,2\n").frame
    assert numbers(frame["n"], "n").tolist() == [1e23, 1]
    assert isinstance(TableEncoder.fit(frame)[0].columns[0], NumberColumn)


def test_gzipped_table_and_plain_one_read_the_same(tmp_path):
    from fastnn.data import read_bytes

    (tmp_path / "a.csv").write_bytes(gzip.compress(b"a,b\n1,x\n"))
    assert table(read_bytes(tmp_path / "a.csv")).frame.to_numpy().tolist() == [[1, "x"]]
