"""How convincing the mouth is: re-enactment, silence, picture, and speech to motion alone, against stated bounds."""
