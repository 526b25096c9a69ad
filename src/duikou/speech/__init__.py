"""Speech audio to mouth motion."""

from duikou.speech.articulation import articulate
from duikou.speech.motion import CURVES, MouthMotion

__all__ = ["CURVES", "MouthMotion", "articulate"]
