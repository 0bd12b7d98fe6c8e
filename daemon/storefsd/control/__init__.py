"""The control directory <mount>/.storefs/."""
