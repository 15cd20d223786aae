"""Rounds of boosting: components searched, added and weighted; what is trained is a target's."""
