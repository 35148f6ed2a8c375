"""Train RecurrentPPO three ways, in turns, and time rollouts and training: `python examples/recurrent_ppo`.

Plain torch; the same policy after one line, `accelerate(model.policy)`; and a policy that uses `resets=`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

if not __package__:  # started as a folder: make the folder importable as the package it is
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

try:
    import torch
    from stable_baselines3.common.callbacks import BaseCallback

    from recurrent_ppo.policy import OneCallPolicy
    from recurrent_ppo.task import make_model
except ModuleNotFoundError as error:
    sys.exit(f"recurrent_ppo: {error.name} is missing: pip install torch sb3-contrib")

import fastlstm.torch


class Clock(BaseCallback):
    """Notes how long each rollout takes; what follows it is training."""

    def __init__(self) -> None:
        super().__init__()
        self.rollouts: list[float] = []
        self.trainings: list[float] = []

    def _on_rollout_start(self) -> None:
        self._at = time.perf_counter()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        now = time.perf_counter()
        self.rollouts.append(now - self._at)
        self._at = now

    def _on_training_end(self) -> None:
        self.trainings.append(time.perf_counter() - self._at)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rollouts of each way, each with its training")
    parser.add_argument("--hidden", type=int, default=256, help="units of each LSTM (256 is the library's default)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch and fastlstm")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    settings = {"n_steps": 128, "policy_kwargs": {"lstm_hidden_size": options.hidden}}
    models = {
        "torch": make_model(**settings),
        "accelerated": make_model(**settings),
        "resets= in one call": make_model(OneCallPolicy, **settings),
    }
    print(fastlstm.torch.accelerate(models["accelerated"].policy))
    clocks = {name: Clock() for name in models}
    for _ in range(options.rounds):  # in turns, so that a slow moment of the machine meets everybody
        for name, model in models.items():
            model.learn(model.n_steps * model.n_envs, callback=clocks[name], reset_num_timesteps=False)

    print(f"\n{'':20}  rollout, s  x torch  training, s  x torch  last episodes' reward")
    base = clocks["torch"]
    for name, clock in clocks.items():
        rollout, training = statistics.median(clock.rollouts), statistics.median(clock.trainings)
        rewards = [episode["r"] for episode in models[name].ep_info_buffer or ()]
        print(
            f"{name:20}  {rollout:10.3f}  {statistics.median(base.rollouts) / rollout:7.2f}  {training:11.3f}  "
            f"{statistics.median(base.trainings) / training:7.2f}  {statistics.fmean(rewards):21.1f}"
        )


if __name__ == "__main__":
    main()
