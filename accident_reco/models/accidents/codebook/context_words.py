"""French names of the context columns and of the kinds of vehicle, beside the English ones of the model.

Context columns are computed from the other parties of an accident; no official document names them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

CONTEXT_FR: Final[Mapping[str, str]] = MappingProxyType(
    {
        "nb_users": "Usagers dans l'accident",
        "nb_vehicles": "Véhicules dans l'accident",
        "nb_pedestrians": "Piétons dans l'accident",
        "nb_occupants": "Usagers dans le même véhicule",
        "nb_cycles": "Cycles dans l'accident",
        "nb_two_wheeled": "Cyclomoteurs et motos dans l'accident",
        "nb_light": "Voitures et utilitaires dans l'accident",
        "nb_heavy": "Véhicules lourds dans l'accident",
        "other_kind": "Véhicule adverse le plus lourd",
        "driver_an_nais": "Année de naissance du conducteur",
        "driver_sexe": "Sexe du conducteur",
        "other_an_nais": "Année de naissance de l'autre partie",
        "other_sexe": "Sexe de l'autre partie",
        "nb_unknown_users": "Usagers de sexe et d'âge inconnus",
        "others_vulnerable": "Autres à pied ou à deux roues",
        "others_riding": "Autres à cyclomoteur ou à moto",
        "others_cycling": "Autres à vélo",
        "others_in_cars": "Autres en voiture ou utilitaire",
        "others_unprotected": "Autres sans ceinture ni casque",
        "vehicle_unprotected": "Autres du véhicule sans ceinture",
    }
)
KINDS_FR: Final[Mapping[str, str]] = MappingProxyType(
    {
        "none": "aucun",
        "other": "autre",
        "personal mobility device": "engin de déplacement personnel",
        "bicycle": "vélo",
        "moped": "cyclomoteur",
        "motorcycle": "moto",
        "quad or microcar": "quad ou voiturette",
        "car": "voiture",
        "van": "utilitaire",
        "agricultural or special": "engin agricole ou spécial",
        "bus or coach": "autobus ou autocar",
        "heavy goods vehicle": "poids lourd",
        "train or tram": "train ou tramway",
    }
)
