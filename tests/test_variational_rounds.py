"""Rounds of the autoencoder and of density matching: limits, checkpoints, interrupts, progress."""

import time

import numpy as np
import pytest
import torch
from helpers import named

import skgbnf
from skgbnf import GradientBoostedFlowVAE, fit_to_log_prob
from skgbnf.variational.boosting import VariationalBoosting

SMALL = {"n_estimators": 3, "max_iter": 2, "random_state": 0, "fine_tune": 1}
IMAGES = np.random.default_rng(0).normal(size=(80, 6)) @ np.diag([3, 2, 1, 1, 1, 1])
POINTS = np.random.default_rng(1).normal(size=(20, 2))


def ring(z):
    return -8 * (z.norm(dim=1) - 2) ** 2


def fit_vae(resume_from=None, **parameters):
    networks = {"hidden_layer_sizes": (8,), "flow_hidden_layer_sizes": (6,)}
    vae = GradientBoostedFlowVAE(**{**SMALL, **networks, **parameters})
    return vae.fit(IMAGES, resume_from=resume_from)


def fit_ring(**parameters):
    # Gaussians: an epoch of them is a fraction of a second.
    quick = {**SMALL, "flow": "affine", "batch_size": 32, "max_iter": 20}
    return fit_to_log_prob(ring, 2, **{**quick, **parameters})


def answers_of(fitted):
    X = IMAGES if isinstance(fitted, GradientBoostedFlowVAE) else POINTS
    return fitted.score_samples(X)


FITS = pytest.mark.parametrize("fit", [fit_vae, fit_ring])
"""Both kinds of fit, by the same tests: they share the loop."""


@FITS
def test_scores_rise_by_more_than_tol_and_belong_to_the_rounds(fit):
    fitted = fit(fine_tune=0)
    assert fitted.n_estimators_ > 1
    assert (np.diff(fitted.validation_scores_) > 0).all()
    assert len(fitted.validation_scores_) == len(fitted.staged_n_iter_) == fitted.n_estimators_
    assert fitted.n_iter_ == fitted.staged_n_iter_.sum()
    assert fit(fine_tune=0, tol=1e6).n_estimators_ == 1


@FITS
def test_fine_tuning_never_lowers_the_score(fit):
    before, after = fit(fine_tune=0), fit(fine_tune=2)
    assert after.validation_scores_[-1] >= before.validation_scores_[-1]
    np.testing.assert_array_equal(after.validation_scores_[:-1], before.validation_scores_[:-1])


@FITS
def test_rounds_without_gain_are_tried_again_and_then_end_the_fit(fit, monkeypatch):
    tried = []
    train = VariationalBoosting._train

    def counted(boosting, loss, annealing, seed, seconds):
        tried.append(seed)
        return train(boosting, loss, annealing, seed, seconds)

    monkeypatch.setattr(VariationalBoosting, "_train", counted)
    fitted = fit(fine_tune=0, tol=1e6, n_iter_no_change=3)
    assert fitted.n_estimators_ == 1
    # The first round, and three that bring no million nats, each from other numbers.
    assert len(tried) == len(set(tried)) == 4
    np.testing.assert_array_equal(answers_of(fitted), answers_of(fit(fine_tune=0, n_estimators=1)))


@FITS
def test_a_fit_ends_near_its_limit_of_time(fit, monkeypatch):
    # The processor's time, which other programs do not take part in.
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    start = time.process_time()
    fitted = fit(max_iter=10**6, max_time=1.0, **({"patience": 10**6} if fit is fit_vae else {}))
    assert time.process_time() - start < 2.0
    assert np.isfinite(answers_of(fitted)).all()


@FITS
def test_time_in_plenty_changes_nothing(fit):
    np.testing.assert_array_equal(answers_of(fit(max_time=1e9)), answers_of(fit()))


@FITS
def test_an_interrupted_fit_resumes_as_if_it_had_not_been(fit, tmp_path, monkeypatch):
    expected = fit()
    path, rounds = tmp_path / "rounds", []
    add_round = VariationalBoosting.add_round

    def interrupted(boosting, limits):
        rounds.append(len(boosting.stages))
        if len(rounds) == 3:
            raise KeyboardInterrupt
        return add_round(boosting, limits)

    with monkeypatch.context() as patch:
        patch.setattr(VariationalBoosting, "add_round", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(checkpoint=path)
    assert rounds == [0, 1, 2]
    assert skgbnf.load(path).n_estimators_ == 2
    resumed = fit(resume_from=path)
    np.testing.assert_array_equal(answers_of(resumed), answers_of(expected))
    np.testing.assert_array_equal(resumed.validation_scores_, expected.validation_scores_)
    np.testing.assert_array_equal(resumed.staged_n_iter_, expected.staged_n_iter_)


def test_an_interrupt_leaves_the_finished_rounds_of_an_autoencoder(monkeypatch):
    whole = fit_vae(n_estimators=1, fine_tune=0)
    vae, joint_loss = GradientBoostedFlowVAE(**whole.get_params()), []
    vae.set_params(n_estimators=3)
    round_loss = VariationalBoosting.add_round

    def interrupted(boosting, limits):
        if boosting.stages:
            # In the middle of a round: the networks have moved.
            with torch.no_grad():
                for parameter in boosting.module.parameters():
                    parameter.add_(1.0)
            joint_loss.append(1)
            raise KeyboardInterrupt
        return round_loss(boosting, limits)

    monkeypatch.setattr(VariationalBoosting, "add_round", interrupted)
    with pytest.raises(KeyboardInterrupt):
        vae.fit(IMAGES)
    assert joint_loss
    np.testing.assert_array_equal(vae.score_samples(IMAGES), whole.score_samples(IMAGES))


@FITS
@pytest.mark.parametrize("changed", [{"max_iter": 3}, {"objective": "gradient"}], ids=named)
def test_other_parameters_do_not_resume(fit, changed, tmp_path):
    fit(checkpoint=tmp_path / "rounds", n_estimators=1)
    (name,) = changed
    with pytest.raises(ValueError, match=rf"resume_from.*\['{name}'\]"):
        fit(resume_from=tmp_path / "rounds", **changed)


@FITS
def test_fewer_rounds_than_there_are_do_not_resume(fit, tmp_path):
    fit(checkpoint=tmp_path / "rounds", n_estimators=2, fine_tune=0)
    with pytest.raises(ValueError, match="n_estimators=1 is below the 2 rounds"):
        fit(resume_from=tmp_path / "rounds", n_estimators=1)


def test_a_checkpoint_that_cannot_be_written_is_refused_before_a_fit_resumes(tmp_path):
    vae = fit_vae(checkpoint=tmp_path / "vae", n_estimators=1)
    vae.set_params(n_estimators=2, checkpoint=tmp_path / "nowhere" / "vae")
    with pytest.raises(ValueError, match="checkpoint: cannot write"):
        vae.fit(IMAGES, resume_from=tmp_path / "vae")


def test_a_model_whose_parameters_were_changed_after_the_fit_does_not_resume(tmp_path):
    for changed in ({"n_components": 3}, {"flow": "affine"}, {"likelihood": "bernoulli"}):
        vae = fit_vae(n_estimators=1).set_params(**changed)
        skgbnf.save(vae, tmp_path / "vae")
        X = IMAGES if "likelihood" not in changed else np.clip(IMAGES, 0, 1)
        with pytest.raises(ValueError, match="resume_from: the rounds in the file"):
            vae.fit(X, resume_from=tmp_path / "vae")


@FITS
@pytest.mark.parametrize("where", ["_note", "_keep"])
def test_an_interrupt_while_a_round_is_noted_leaves_the_rounds_before(
    fit, where, tmp_path, monkeypatch
):
    calls, original = [], getattr(VariationalBoosting, where)

    def interrupted(boosting, *arguments, **keywords):
        calls.append(1)
        if len(boosting.stages) == 1 and len(calls) > 1:
            if where == "_note":
                boosting.n_iter.append(7)
            raise KeyboardInterrupt
        return original(boosting, *arguments, **keywords)

    monkeypatch.setattr(VariationalBoosting, where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(fine_tune=0, checkpoint=tmp_path / "rounds")
    monkeypatch.undo()
    resumed = fit(fine_tune=0, resume_from=tmp_path / "rounds")
    np.testing.assert_array_equal(answers_of(resumed), answers_of(fit(fine_tune=0)))


def test_a_round_without_gain_is_told_of_as_such(capfd):
    fit_ring(verbose=1, tol=1e6, n_iter_no_change=2, fine_tune=0)
    lines = [line for line in capfd.readouterr().out.splitlines() if "no gain, dropped" in line]
    assert len(lines) == 2
    assert all(line.startswith("[skgbnf] round 2/3: ") for line in lines)


def test_other_samples_do_not_resume(tmp_path):
    vae = fit_vae(checkpoint=tmp_path / "vae", n_estimators=1)
    with pytest.raises(ValueError, match=r"resume_from.*other images"):
        vae.fit(2 * IMAGES, resume_from=tmp_path / "vae")
    own = fit_vae(checkpoint=tmp_path / "own", n_estimators=1)
    own_validation = GradientBoostedFlowVAE(**own.get_params()).set_params(n_estimators=1)
    own_validation.fit(IMAGES, X_val=IMAGES[:20])
    with pytest.raises(ValueError, match=r"resume_from.*other images"):
        own_validation.set_params(n_estimators=2).fit(
            IMAGES[::-1] * 1.5, X_val=IMAGES[:20], resume_from=tmp_path / "own"
        )
    fit_ring(checkpoint=tmp_path / "ring", n_estimators=1)
    with pytest.raises(ValueError, match=r"resume_from.*another log_prob"):
        fit_to_log_prob(
            lambda z: ring(z - 1), 2, resume_from=tmp_path / "ring",
            **{**SMALL, "flow": "affine", "batch_size": 32, "max_iter": 20},
        )  # fmt: skip
    with pytest.raises(ValueError, match="resume_from: the file holds a MatchedDensity"):
        vae.fit(IMAGES, resume_from=tmp_path / "ring")


@FITS
def test_rounds_parts_and_fine_tuning_are_told_of(fit, capfd):
    fitted = fit(verbose=2, n_estimators=1)
    out = capfd.readouterr().out
    assert f"round 1/1: {'realnvp' if fit is fit_vae else 'affine'}\n" in out
    assert f"round 1/1: epoch {'2/2' if fit is fit_vae else '20/20'}" in out
    assert f"validation {fitted.validation_scores_[-1]:.4f} nats" in out
    assert "fine-tuning 1/1: " in out
    fit(verbose=0)
    assert capfd.readouterr() == ("", "")


def test_scores_of_training_images(tmp_path):
    fitted = fit_vae(fine_tune=0)
    assert fitted.train_scores_.shape == fitted.validation_scores_.shape
    assert fit_vae(validation_fraction=None).validation_scores_ is None
    # Two draws for each of 80 images against a hundred: three standard errors.
    alone = fit_vae(validation_fraction=None, fine_tune=0)
    assert alone.train_scores_[-1] == pytest.approx(alone.elbo(IMAGES).mean(), abs=0.5)
