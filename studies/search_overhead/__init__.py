"""What does a search cost beside scoring, with many trials and with several workers?"""
