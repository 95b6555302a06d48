"""Latent variables, classical: what is hidden has few values, or a linear effect."""

from tinygen.models.latent.em import EM, Posterior
from tinygen.models.latent.factor_analysis import FactorAnalysis
from tinygen.models.latent.flow import Flow
from tinygen.models.latent.gaussian_mixture import GaussianMixture
from tinygen.models.latent.hidden_markov import CategoricalHMM, GaussianHMM
from tinygen.models.latent.inverse_transform import ConditionalTransform
from tinygen.models.latent.k_means import KMeans
from tinygen.models.latent.linear_factor import LinearFactorModel
from tinygen.models.latent.mcmc import Gibbs, Hamiltonian, Metropolis
from tinygen.models.latent.pca import PCA
from tinygen.models.latent.probabilistic_pca import ProbabilisticPCA
from tinygen.models.latent.sparse_coding import SparseCoding
from tinygen.models.latent.topics import LatentDirichletAllocation
from tinygen.models.latent.variational import Variational

__all__ = [
    "EM", "PCA", "CategoricalHMM", "ConditionalTransform", "FactorAnalysis", "Flow", "GaussianHMM", "GaussianMixture",
    "Gibbs", "Hamiltonian", "KMeans", "LatentDirichletAllocation", "LinearFactorModel", "Metropolis", "Posterior",
    "ProbabilisticPCA", "SparseCoding", "Variational",
]  # fmt: skip
