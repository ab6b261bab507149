"""What is learned and when: flow matching, facial weights, dropped conditions, the curriculum."""
