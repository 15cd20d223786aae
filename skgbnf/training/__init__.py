"""Training of one component, and components combined into one density; torch only."""
