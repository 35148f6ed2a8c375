"""The task: a pole to balance, without being told how fast anything moves. Only a memory can tell."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env

POSITIONS = [0, 2]  # of the cart and of the pole; 1 and 3 are their velocities


class WithoutVelocities(gymnasium.ObservationWrapper):
    """CartPole that shows positions alone."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        box = env.observation_space
        assert isinstance(box, gymnasium.spaces.Box)
        self.observation_space = gymnasium.spaces.Box(box.low[POSITIONS], box.high[POSITIONS], dtype=np.float32)

    def observation(self, observation: Any) -> Any:
        """Leave the velocities out."""
        return observation[POSITIONS]


def make_model(policy: Any = "MlpLstmPolicy", seed: int = 0, **options: Any) -> RecurrentPPO:
    """Return RecurrentPPO on eight copies of the task, on the CPU; `options` are those of RecurrentPPO."""
    env = make_vec_env(lambda: WithoutVelocities(gymnasium.make("CartPole-v1")), n_envs=8, seed=seed)
    return RecurrentPPO(policy, env, seed=seed, device="cpu", **options)
