"""What registries, models and versions show: pages made from what the journals say."""
