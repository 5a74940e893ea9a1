"""Corpora of text: what the parsers of the examples make of them."""

from __future__ import annotations

import data_text
import pytest


@pytest.mark.parametrize(
    ("tag", "simple"),
    [
        ("nn-tl", "nn"),
        ("ppss+bem", "ppss"),
        ("fw-in+at-tl", "in"),
        ("bedz*", "bedz"),
        ("*", "*"),
        ("--", "--"),
        ("np$", "np$"),
        ("--hl", "--"),
    ],
)
def test_tags_are_simplified(tag: str, simple: str) -> None:
    assert data_text.simplified(tag) == simple


def test_tagged_sentences() -> None:
    text = b"\n\n\tThe/at jury/nn-tl said/vbd ./.\n\n\tand/or/cc 1/2/cd\n"
    assert data_text.parse_tagged(text) == [
        [("The", "at"), ("jury", "nn"), ("said", "vbd"), (".", ".")],
        [("and/or", "cc"), ("1/2", "cd")],
    ]


def test_dependency_trees() -> None:
    rows = [
        "# text = ...",
        "1-2\tab\t_\t_\t_\t_\t_\t_\t_\t_",
        "1\ta\tx\tNOUN\tNN\t_\t2\tnsubj\t_\t_",
        "2\tb\tx\tVERB\tVB\t_\t0\troot\t_\t_",
        "",
        "",
    ]
    (sentence,) = data_text.parse_conllu("\n".join(rows).encode())
    assert sentence == data_text.Sentence(("a", "b"), ("NOUN", "VERB"), (2, 0), ("nsubj", "root"))


def test_pronunciations_lose_stress_and_comments() -> None:
    lines = b"ab AE1 B # a comment\nab(2) EY1 B\nit's IH1 T S\n3d TH R IY D IY\n"
    assert data_text.parse_pronunciations(lines) == [
        ("ab", ("AE", "B")),
        ("it's", ("IH", "T", "S")),
    ]


def test_synthetic_trees_are_trees() -> None:
    for sentence in data_text.synthetic_treebank()[0]:
        assert sentence.heads.count(0) == 1
        for word in range(len(sentence.words)):
            for _ in sentence.words:
                word = sentence.heads[word] - 1
                if word < 0:
                    break
            assert word < 0
