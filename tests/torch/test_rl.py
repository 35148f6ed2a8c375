"""A recurrent policy of stable-baselines3-contrib: every step and the training, on fastlstm and on torch's own code."""

import copy

import numpy as np
import pytest

from tests.cases import assert_close, assert_gradients_close
from tests.torch.support import import_torch

torch = import_torch()
for package in ("gymnasium", "stable_baselines3", "sb3_contrib"):
    pytest.importorskip(package, reason="pip install sb3-contrib")

from recurrent_ppo.policy import OneCallPolicy  # noqa: E402
from recurrent_ppo.task import make_model  # noqa: E402
from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402

import fastlstm.torch  # noqa: E402

# Eight environments for 32 steps: long enough for poles to fall, so that episodes start inside the sequences.
STEPS = 32
SETTINGS = {"n_steps": STEPS, "n_epochs": 2, "batch_size": 64}
LAYERS = {"lstm_hidden_size": 24, "n_lstm_layers": 2}
CRITICS = {
    "two LSTMs": {},
    "shared LSTM": {"shared_lstm": True, "enable_critic_lstm": False},
    "no LSTM in the critic": {"enable_critic_lstm": False},
}


def model_of(policy="MlpLstmPolicy", **policy_kwargs):
    return make_model(policy, **SETTINGS, policy_kwargs=LAYERS | policy_kwargs)


def learn(model, rounds, callback=None):
    return model.learn(rounds * STEPS * model.n_envs, callback=callback)


def flat(policy, outputs):
    """Return what a policy gives for a step as arrays: actions, values, log probabilities, the states that it has."""
    actions, values, log_probabilities, states = outputs
    named = {"actions": actions, "values": values, "log probabilities": log_probabilities}
    for name, pair in (("actor", states.pi), ("critic", states.vf)):
        named |= {f"{name} h": pair[0], f"{name} c": pair[1]}
    return {name: tensor.detach().numpy() for name, tensor in named.items()}


class Twin(BaseCallback):
    """Asks a twin of the policy, on torch's own code, at every step of the training."""

    def __init__(self, twin):
        super().__init__()
        self.twin = twin
        self.steps = self.starts = 0

    def _on_rollout_start(self):
        self.twin.load_state_dict(self.model.policy.state_dict())

    def _on_step(self):
        states = self.model._last_lstm_states  # before the step: the library moves on after this call
        starts = self.locals["episode_starts"]
        with torch.no_grad():
            asked = (self.locals["obs_tensor"], states, starts, True)
            found, expected = (flat(policy, policy(*asked)) for policy in (self.model.policy, self.twin))
        np.testing.assert_array_equal(found.pop("actions"), expected.pop("actions"))
        for name, array in found.items():
            assert_close(array, expected[name], "torch")
        self.steps += 1
        self.starts += int(starts.sum())
        return True


@pytest.mark.parametrize("critic", CRITICS)
def test_every_step_of_a_training_equals_torchs(critic):
    model = model_of(**CRITICS[critic])
    callback = Twin(copy.deepcopy(model.policy))
    lstms = ["lstm_actor", "lstm_critic"] if critic == "two LSTMs" else ["lstm_actor"]
    assert fastlstm.torch.accelerate(model.policy).swapped == lstms
    learn(model, 3, callback)
    assert callback.steps == 3 * STEPS
    assert callback.starts > model.n_envs  # more than the first of each environment
    assert all(getattr(model.policy, name).fallback is None for name in lstms)


def losses_and_parameters(model):
    """Train, and return every logged figure of the training, of each round; and the parameters after it."""
    logged = []

    class Log(BaseCallback):
        def _on_step(self):
            return True

        def _on_rollout_end(self):
            self.note()

        def _on_training_end(self):
            self.note()

        def note(self):
            logged.append([v for k, v in sorted(self.logger.name_to_value.items()) if k.startswith("train/")])

    before = copy.deepcopy(model.policy.state_dict())
    learn(model, 3, Log())
    after = model.policy.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in after)
    return [np.array(figures, np.float32) for figures in logged], after


def test_training_goes_on_as_with_torch():
    expected, expected_parameters = losses_and_parameters(model_of())
    model = model_of()
    fastlstm.torch.accelerate(model.policy)
    found, parameters = losses_and_parameters(model)
    assert [len(figures) > 0 for figures in found] == [False, True, True, True]  # no training before the first rollout
    for figures, others in zip(found, expected, strict=True):
        assert_close(figures, others, "torch, reinforcement")
    for name, parameter in parameters.items():
        assert_close(parameter.numpy(), expected_parameters[name].numpy(), "torch, reinforcement")


def samples_of(model):
    """Return a minibatch with episodes that start inside it, as the training sees it."""
    learn(model, 1)
    return next(model.rollout_buffer.get(None))


def evaluate(policy, samples):
    """Return values, log probabilities and entropy of a minibatch, and the gradients of a loss of them."""
    actions = samples.actions.long().flatten()
    outputs = policy.evaluate_actions(samples.observations, actions, samples.lstm_states, samples.episode_starts)
    values, log_probabilities, entropy = outputs
    parameters = dict(policy.named_parameters())
    loss = (values.flatten() - samples.returns).square().mean() - log_probabilities.mean() + entropy.mean()
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    arrays = [output.detach().numpy() for output in outputs]
    return arrays, {f"weight of {n}": g.numpy() for n, g in zip(parameters, gradients, strict=True)}


def test_training_step_and_resets_in_one_call():
    model = model_of()
    samples = samples_of(model)
    assert samples.episode_starts.sum() > model.n_envs
    expected, expected_gradients = evaluate(model.policy, samples)
    fused = model_of(OneCallPolicy).policy
    fused.load_state_dict(model.policy.state_dict())
    fastlstm.torch.accelerate(model.policy)
    for policy in (model.policy, fused):
        found, gradients = evaluate(policy, samples)
        for array, other in zip(found, expected, strict=True):
            assert_close(array, other, "torch")
        assert_gradients_close(gradients, expected_gradients, "gradients, torch")


def test_a_policy_of_resets_trains():
    model = model_of(OneCallPolicy)
    callback = Twin(copy.deepcopy(model_of().policy))
    learn(model, 2, callback)
    assert callback.starts > model.n_envs


def test_saved_and_loaded(tmp_path):
    model = model_of()
    fastlstm.torch.accelerate(model.policy)
    learn(model, 1)
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model", device="cpu")  # rebuilt from its class: torch's own LSTM again
    assert type(loaded.policy.lstm_actor) is torch.nn.LSTM
    assert fastlstm.torch.accelerate(loaded.policy).swapped == ["lstm_actor", "lstm_critic"]
    observation = np.zeros((1, 2), np.float32)
    (action, (h, c)), (other, (h_2, c_2)) = (m.predict(observation, deterministic=True) for m in (model, loaded))
    np.testing.assert_array_equal(action, other)
    np.testing.assert_array_equal(h, h_2)
    np.testing.assert_array_equal(c, c_2)
