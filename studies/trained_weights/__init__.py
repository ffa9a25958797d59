"""How well do ResNet-20 and its mixtures classify CIFAR-10 images before approximation?"""
