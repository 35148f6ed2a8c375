"""What the tests of other forms of the cell share: the forms, and cases in them."""

from dataclasses import replace

import pytest

from fastlstm import Form
from tests.cases import Case

# Each option alone, every activation in every place where it makes sense, then several at once.
TRAINABLE: dict[str, Form] = {
    "peepholes": Form(peepholes=True),
    "coupled": Form(coupled=True),
    "coupled-peepholes": Form(peepholes=True, coupled=True),
    "hard-sigmoid": Form("hard_sigmoid"),
    "hard-sigmoid-of-keras-3": Form(("hard_sigmoid", 1 / 6, 0.5)),
    "relu": Form("hard_sigmoid", "relu", "relu"),
    "affine": Form(("affine", 0.5, 0.25), ("affine", 0.9, 0.1), "affine"),
    "leaky-relu": Form("sigmoid", "leaky_relu", ("leaky_relu", 0.3)),
    "thresholded-relu": Form("sigmoid", ("thresholded_relu", 0.25), ("thresholded_relu", 0.1)),
    "scaled-tanh": Form(("scaled_tanh", 0.8, 0.9), ("scaled_tanh", 1.7159, 2 / 3), ("scaled_tanh", 1.2, 0.5)),
    "elu": Form("sigmoid", "elu", ("elu", 0.7)),
    "softsign": Form("softsign", "softsign", "softsign"),
    "softplus": Form("sigmoid", "softplus", "softplus"),
    "softplus-gates": Form("softplus"),
    "sigmoid-everywhere": Form("sigmoid", "sigmoid", "sigmoid"),
    "tanh-everywhere": Form("tanh", "tanh", "tanh"),
    "everything": Form("hard_sigmoid", "softsign", "elu", peepholes=True, coupled=True),
    "summed": Form(summed=True),
    "summed-everything": Form("hard_sigmoid", "softsign", "elu", peepholes=True, coupled=True, summed=True),
}
CLIPPED: dict[str, Form] = {
    "clip-activations": Form(clip=0.5),
    "clip-gates": Form(clip=0.5, clip_at="gates"),
    "clip-state": Form(clip=0.5, clip_at="state"),
    "clip-activations-peepholes": Form("sigmoid", "elu", "softplus", peepholes=True, coupled=True, clip=0.3),
    "clip-gates-peepholes": Form(peepholes=True, clip=0.3, clip_at="gates"),
    "clip-state-peepholes": Form(peepholes=True, clip=0.3, clip_at="state"),
    "clip-state-summed": Form(summed=True, clip=0.3, clip_at="state"),
}
FORMS = TRAINABLE | CLIPPED
GROWING = ("affine", "softplus-gates", "summed", "summed-everything")  # nothing bounds a cell to steps
FEW = ("everything", "peepholes", "softplus", "clip-state-peepholes")  # where all would take long

each_form = pytest.mark.parametrize("form", FORMS)
each_trainable = pytest.mark.parametrize("form", TRAINABLE)
few_forms = pytest.mark.parametrize("form", FEW)

# Few steps, since cells of some of the forms grow.
FORM_CASES = (
    Case("form", T=5, B=3, I=5, H=9),
    Case("form-one-of-each", T=3, B=1, I=1, H=1),
    Case("form-one-row", T=4, B=1, I=7, H=40),
    Case("form-stack", T=4, B=5, I=7, H=21, P=3, num_layers=2, bidirectional=True, ragged=True, batch_first=True),
    Case("form-resets", T=7, B=4, I=5, H=33, num_layers=2, resets=True, ragged=True),
)
each_case = pytest.mark.parametrize("case", FORM_CASES, ids=lambda case: case.name)


def formed(case: Case, form: str) -> Case:
    """Return a case in a form."""
    return replace(case, name=f"{case.name}-{form}", form=FORMS[form])


def tolerance(form: str, gradients: bool = False) -> str:
    """Return which of the tolerances is a form's."""
    return "forms, growing" if form in GROWING else "forms, gradients" if gradients else "forms"
