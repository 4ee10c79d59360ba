"""The main job from beginning to end, shown and proved: what ``tachikoma demo`` runs."""
