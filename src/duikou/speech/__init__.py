"""Speech audio to mouth motion."""

from duikou.speech.articulation import articulate, articulate_sound
from duikou.speech.motion import CURVES, MouthMotion

__all__ = ["CURVES", "MouthMotion", "articulate", "articulate_sound"]
